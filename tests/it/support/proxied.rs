//! A station whose engine is behind a proxy, and calls that are made around a failure of the engine or of the caller.

use std::path::Path;

use stationmaster_proto as pb;
use stationmaster_proto::OpenInto;

use super::{
    Engine, PATIENCE, Refusal, Station, Train, block_on,
    proxy::EngineProxy,
    tamper::{Before, Scene},
    wait_for,
};

/// A station that reaches the engine through a proxy, and a train of some size for it.
pub struct Proxied {
    pub scene: Scene,
    pub proxy: EngineProxy,
}

impl Proxied {
    pub fn start() -> Self {
        Self::configured(|_| {})
    }

    pub fn configured(change: impl FnOnce(&mut toml::Table)) -> Self {
        let mut station = Station::start("a");
        let proxy = put_behind_proxy(&mut station, change);
        let train = Train::of(&[station.seat()]).file("large.bin", 4 << 20).make();
        Self { scene: Scene { train, station, engine: Engine::connect() }, proxy }
    }

    #[track_caller]
    pub fn healthy(&self, status: &str) {
        wait_for(status, || self.scene.station.health().is_ok_and(|now| now == status).then_some(()));
    }

    /// Waits until all is as it was.
    #[track_caller]
    pub fn as_it_was(&self, before: &Before) {
        let since = std::time::Instant::now();
        while let Err(change) = before.holds(&self.scene.station) {
            assert!(since.elapsed() < PATIENCE, "it is never as it was: {change}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

/// Starts a station again that then reaches the engine through a proxy.
pub fn put_behind_proxy(station: &mut Station, change: impl FnOnce(&mut toml::Table)) -> EngineProxy {
    station.stop();
    let proxy = EngineProxy::start(station.state());
    let runs = station.state().join("runs");
    station.configure(|config| {
        config.entry("engine").or_insert_with(|| toml::Table::new().into());
        config["engine"].as_table_mut().unwrap().insert("socket".into(), proxy.address().into());
        share_directory(config, &runs);
        change(config);
    });
    station.start_again();
    proxy
}

/// A call that is made again as long as the one before it still cleans up.
#[track_caller]
pub fn when_free<T>(mut call: impl FnMut() -> Result<T, Refusal>) -> T {
    wait_for("the train to be free", || match call() {
        Err(refusal) if refusal.reason == "TRAIN_BUSY" => None,
        answer => Some(answer.expect("the same call, made again")),
    })
}

/// Lets trains be opened into a directory.
pub fn share_directory(config: &mut toml::Table, directory: &Path) {
    let directory = directory.to_str().unwrap();
    config.insert("runs".into(), toml::Table::from_iter([("directory".to_owned(), directory.into())]).into());
}

/// Begins a pre-run and returns its response stream unread.
pub fn begin_pre_run(scene: &Scene, into: OpenInto, timeout: Option<&'static str>) -> tonic::Streaming<pb::PreRunResponse> {
    let request = pb::PreRunRequest { image: scene.train.image.clone(), into: into.into(), ..Default::default() };
    let mut request = tonic::Request::new(request);
    if let Some(timeout) = timeout {
        request.metadata_mut().insert("grpc-timeout", timeout.parse().unwrap());
    }
    block_on(scene.station.trains_client().pre_run(request)).expect("a stream").into_inner()
}
