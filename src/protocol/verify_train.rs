//! Verify: what a train proves of itself, to anybody. No key is used and nothing is changed.
//!
//! What does not hold is told, not refused. Only what cannot be read at all is an error.

use std::io::Read;

use super::{
    StepError,
    station::{Station, Step},
};
use crate::{
    image::{
        ImageError,
        reference::ImageSource,
        train_files::{TrainFiles, read_train},
    },
    train::{
        config::{ConfigError, TrainConfig},
        proof::{Proof, prove},
    },
};

/// What a train proved.
pub struct Verification {
    /// `@id`.
    pub train_id: String,
    /// The train session, raw.
    pub session_id: Vec<u8>,
    /// What became of each rule.
    pub proof: Proof,
}

/// Verifies a train in the engine: one container, `/opt` read once.
pub fn verify_image(station: &Station, image: &ImageSource, step: &Step<'_>) -> Result<Verification, StepError> {
    let image_id = station.engine.resolve(image)?;
    let container = station.engine.container(&image_id)?;
    verify_archive(container.read("/opt", &step.cancel)?, &|| step.check())
}

/// Verifies a train in an archive: of `/opt` as an engine gives it, of what the extractor delivers, or of `docker save`. `check` is
/// asked now and then whether to go on. Memory is constant but for names.
pub fn verify_archive(archive: impl Read, check: &dyn Fn() -> Result<(), ImageError>) -> Result<Verification, StepError> {
    let TrainFiles { config, found } = match read_train(archive, check) {
        Err(ImageError::PathMissing) => return Err(StepError::NotATrain),
        other => other?,
    };
    let config = TrainConfig::parse(&config.ok_or(StepError::NotATrain)?)?;
    let session_id =
        config.session_id.decode().map_err(|_| ConfigError::WrongType { field: "session_id".into(), expected: "hex" })?;
    // Here a trust store is plugged in: whose keys are known decides over creator-pinned and stations-pinned.
    let trust = None;
    let proof = prove(&config, found, trust);
    Ok(Verification { train_id: config.id, session_id, proof })
}
