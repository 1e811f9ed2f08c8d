//! Runs and their states, as the ledger keeps them.

use stationmaster_image::oci::reference::ImageId;
use stationmaster_train::{digest::Sha256Digest, route::StopIndex};

use super::{
    RunId,
    record::{FileDigest, PostRunRecord, PreRunRecord},
};

/// The state of a run. The `-ing` states are intents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// A pre-run is in progress or was interrupted.
    Opening,
    /// The train is open; a post-run or an abort may follow.
    Prepared,
    /// A post-run is in progress or was interrupted.
    Closing,
    /// The train is sealed for the next stop. Final.
    Completed,
    /// An abort is in progress or was interrupted.
    Aborting,
    /// Ended without results; the stop is free. Final.
    Aborted,
    /// The pre-run failed and was rolled back; the stop is free. Final.
    Failed,
}

impl RunState {
    /// All states.
    pub const ALL: [Self; 7] =
        [Self::Opening, Self::Prepared, Self::Closing, Self::Completed, Self::Aborting, Self::Aborted, Self::Failed];

    /// Returns whether the run may continue.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Opening | Self::Prepared | Self::Closing | Self::Aborting)
    }

    /// Returns the state's name in the ledger and in error metadata.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Prepared => "prepared",
            Self::Closing => "closing",
            Self::Completed => "completed",
            Self::Aborting => "aborting",
            Self::Aborted => "aborted",
            Self::Failed => "failed",
        }
    }

    /// Returns the state with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// Location of a run's opened content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OpenInto {
    /// In an image, under the train's own name, as train_lib does it.
    #[default]
    Image,
    /// In two volumes of the engine.
    Volume,
    /// In a directory that service and engine share.
    Directory,
}

impl OpenInto {
    /// All locations.
    pub const ALL: [Self; 3] = [Self::Image, Self::Volume, Self::Directory];

    /// Returns the location's name in the ledger and in commands.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Volume => "volume",
            Self::Directory => "directory",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|into| into.as_str() == name)
    }
}

/// Data of a run that is about to start.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Its id.
    pub id: RunId,
    /// This station's id.
    pub station: String,
    /// The train's `@id`.
    pub train_id: String,
    /// The train session, raw.
    pub session_id: Vec<u8>,
    /// This station's index in the route.
    pub stop_index: StopIndex,
    /// The principal that requested it.
    pub principal: String,
    /// The client's key, or the derived one; unique per principal.
    pub idempotency_key: String,
    /// Where the opened content goes.
    pub opened_into: OpenInto,
    /// The reference that is written, `repository:tag`.
    pub image: String,
    /// Id of the sealed image that arrived.
    pub source_image: ImageId,
    /// Id of the train's base.
    pub base_image: ImageId,
    /// Label of the station key that the route names.
    pub key_label: String,
    /// `train_config.json` as it arrived.
    pub config: Vec<u8>,
}

/// A run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// Its state.
    pub state: RunState,
    /// This station's id.
    pub station: String,
    /// The train's `@id`.
    pub train_id: String,
    /// The train session, raw.
    pub session_id: Vec<u8>,
    /// This station's index in the route.
    pub stop_index: StopIndex,
    /// The principal that requested it; `None` in rows of older versions.
    pub principal: Option<String>,
    /// The client's key, or the derived one; unique per principal.
    pub idempotency_key: String,
    /// Location of the opened content.
    pub opened_into: OpenInto,
    /// The reference passed to pre-run.
    pub image: String,
    /// Id of the sealed image that arrived.
    pub source_image: ImageId,
    /// Id of the train's base.
    pub base_image: ImageId,
    /// Id of the opened image, announced before it can exist.
    pub opened_image: Option<ImageId>,
    /// Id of the image whose results are being or were sealed.
    pub closing_image: Option<ImageId>,
    /// Id of the sealed image, announced before it can exist.
    pub sealed_image: Option<ImageId>,
    /// Label of the station key.
    pub key_label: String,
    /// `train_config.json` as it arrived; empty once the run has ended.
    pub config: Vec<u8>,
    /// Digest of the config; `None` in a row of an older version that no service of this version has completed yet.
    pub config_sha256: Option<Sha256Digest>,
    /// The immutable files as pre-run saw them, the query among them.
    pub immutable_files: Vec<FileDigest>,
    /// Pre-run's outcome.
    pub pre_run: Option<PreRunRecord>,
    /// Post-run's outcome.
    pub post_run: Option<PostRunRecord>,
    /// When it started, in seconds since 1970, by the clock of that time.
    pub created_at: i64,
    /// When it last changed, in seconds since 1970.
    pub updated_at: i64,
    /// Why it ended without results.
    pub reason: Option<String>,
    /// The administrator who abandoned it.
    pub abandoned_by: Option<String>,
    /// What still held plaintext when it was aborted.
    pub held: Vec<String>,
    /// An administrator's permission to run the stop again.
    pub released: Option<RerunPermission>,
}

impl Run {
    /// Returns whether an image belongs to the run: the arrived, the opened or the sealed one.
    pub fn has_image(&self, image_id: &ImageId) -> bool {
        let later = [&self.opened_image, &self.closing_image, &self.sealed_image];
        self.source_image == *image_id || later.into_iter().flatten().any(|image| image == image_id)
    }
}

/// An administrator's permission to run a completed run's stop again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RerunPermission {
    /// When it was given, in seconds since 1970.
    pub at: i64,
    /// The administrator.
    pub by: String,
    /// The reason.
    pub reason: String,
}

/// Selects the runs to list.
#[derive(Clone, Debug)]
pub struct RunFilter {
    /// Only open runs.
    pub open: bool,
    /// Only those in this state.
    pub state: Option<RunState>,
    /// Only those of the train with this `@id`.
    pub train: Option<String>,
    /// Only those of train sessions with this prefix, in lower-case hex.
    pub session: Option<String>,
    /// The maximum number of runs.
    pub limit: u32,
}

/// Number of rows that were pruned, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Runs that failed or were aborted, and were removed.
    pub removed: u64,
    /// Completed runs that were reduced to what keeps their stop closed.
    pub shortened: u64,
}
