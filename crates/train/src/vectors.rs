//! Test vectors made by the real train_lib, for the unit tests (`tests/vectors/README.md`). The module is compiled for
//! tests only: a malformed vector panics and so fails the test that uses it.

use serde_json::Value;

use super::{
    config::TrainConfig,
    digest::{Digest, ImmutableHasher, ResultHasher},
    names::Listing,
    route::{OwnStop, own_stop},
    verify,
};

macro_rules! vector {
    ($name:literal) => {
        $crate::vectors::parse(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/", $name, ".json")))
    };
}
pub(super) use vector;

pub(super) fn parse(text: &str) -> Value {
    serde_json::from_str(text).expect("the vectors are JSON")
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

pub(super) fn items(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

pub(super) fn number(value: &Value) -> usize {
    value.as_u64().expect("a number") as usize
}

pub(super) fn bytes(value: &Value) -> Vec<u8> {
    const_hex::decode(text(value)).expect("hex")
}

/// One stop of the train in `train.json`.
pub(super) struct Step {
    /// The config as it arrived.
    pub config: TrainConfig,
    /// This station's stop in it.
    pub own: OwnStop,
    /// Digest of the immutable files.
    pub immutable: Digest,
    /// Digest of the results that arrived.
    pub arriving: Digest,
    /// Digest of the results after the run.
    pub results: Digest,
    /// The bytes that train_lib wrote afterwards.
    pub next: Vec<u8>,
}

/// The three stops of the train in `train.json`.
pub(super) fn steps() -> Vec<Step> {
    let train = vector!("train");
    let step = |step: &Value| {
        let config = TrainConfig::parse(text(&step["config"]).as_bytes()).unwrap();
        let session = verify::session_id(&config).unwrap();
        let mut hasher = ImmutableHasher::new(&config.creator.id);
        for name in Listing::new(&config.file_list).unwrap().names() {
            hasher.update(&bytes(&train["files"][name.as_str()]));
        }
        let results = |field: &str| {
            let mut hasher = ResultHasher::new();
            items(&step[field]).iter().for_each(|content| hasher.update(&bytes(content)));
            hasher.finish(&session)
        };
        Step {
            own: own_stop(&config, text(&step["station"])).unwrap(),
            immutable: hasher.finish(&session, Some(&bytes(&train["query"]))),
            arriving: results("arriving_results"),
            results: results("results"),
            next: text(&step["next_config"]).as_bytes().to_vec(),
            config,
        }
    };
    items(&train["steps"]).iter().map(step).collect()
}
