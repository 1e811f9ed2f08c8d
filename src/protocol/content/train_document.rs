//! The train config of an image, as it was read and parsed. Reading it authorises nothing and verifies nothing.

use stationmaster_image::{
    ImageError,
    opt::{reader::read_config, train_dirs::CONFIG_PATH},
    store::ImageFiles,
};
use stationmaster_train::config::{TrainConfig, TrainConfigError};
use tokio_util::sync::CancellationToken;

use crate::{ledger::Run, protocol::context::error::StepError};

/// A train's config and the bytes that it was parsed from.
pub(in crate::protocol) struct TrainDocument {
    pub bytes: Vec<u8>,
    pub config: TrainConfig,
    /// The train session, raw bytes.
    pub session_id: Vec<u8>,
}

impl TrainDocument {
    /// Reads and parses the config of the train in an image.
    pub(crate) fn read(files: &dyn ImageFiles, cancel: &CancellationToken) -> Result<Self, StepError> {
        match read_config(files.read(CONFIG_PATH, cancel)?) {
            Err(ImageError::PathMissing) => Err(StepError::NotATrain),
            other => Self::parse(other?),
        }
    }

    /// Parses a config.
    pub(crate) fn parse(bytes: Vec<u8>) -> Result<Self, StepError> {
        let config = TrainConfig::parse(&bytes)?;
        let session_id = config
            .session_id
            .decode()
            .map_err(|_| TrainConfigError::WrongType { field: "session_id".into(), expected: "hex" })?;
        Ok(Self { bytes, config, session_id })
    }

    /// Returns the config that pre-run stored with a run.
    pub(crate) fn of_run(run: &Run) -> Result<Self, StepError> {
        Ok(Self { config: TrainConfig::parse(&run.config)?, bytes: run.config.clone(), session_id: run.session_id.clone() })
    }
}
