//! A run as the ledger keeps it.

use super::record::{FileDigest, PostRunRecord, PreRunRecord};

/// Where a run is. The `-ing` states are intents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// A pre-run is under way or was cut off.
    Opening,
    /// The train is open; a post-run or an abort may follow.
    Prepared,
    /// A post-run is under way or was cut off.
    Closing,
    /// The train is sealed for the next stop. Final.
    Completed,
    /// An abort is under way or was cut off.
    Aborting,
    /// Ended without results; the stop is free. Final.
    Aborted,
    /// The pre-run failed and was rolled back; the stop is free. Final.
    Failed,
}

impl RunState {
    /// Every one.
    pub const ALL: [Self; 7] =
        [Self::Opening, Self::Prepared, Self::Closing, Self::Completed, Self::Aborting, Self::Aborted, Self::Failed];

    /// Whether the run may still go on.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Opening | Self::Prepared | Self::Closing | Self::Aborting)
    }

    /// The state's name, as the ledger and error metadata write it.
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

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// Where a run's opened content is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OpenInto {
    /// In an image, under the train's own name: what train_lib does.
    #[default]
    Image,
    /// In two volumes of the engine's.
    Volume,
    /// In a directory that service and engine share.
    Directory,
}

impl OpenInto {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Image, Self::Volume, Self::Directory];

    /// Its name, as the ledger and the commands write it.
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

/// What is known when a run begins.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// UUID, version 7.
    pub id: String,
    /// This station's id.
    pub station: String,
    /// The train's `@id`.
    pub train_id: String,
    /// The train session, raw.
    pub session_id: Vec<u8>,
    /// This station's index in the route.
    pub stop_index: u32,
    /// Who asks for it.
    pub principal: String,
    /// The client's key, or the derived one. It is its principal's own.
    pub idempotency_key: String,
    /// Where the opened content goes.
    pub opened_into: OpenInto,
    /// The reference that is written, `repository:tag`.
    pub image: String,
    /// Id of the sealed image that arrived.
    pub source_image: String,
    /// Id of the train's base.
    pub base_image: String,
    /// Label of the station key that the route names.
    pub key_label: String,
    /// `train_config.json` as it arrived.
    pub config: Vec<u8>,
}

/// A run.
#[derive(Clone, Debug)]
pub struct Run {
    /// UUID, version 7.
    pub id: String,
    /// Where it is.
    pub state: RunState,
    /// This station's id.
    pub station: String,
    /// The train's `@id`.
    pub train_id: String,
    /// The train session, raw.
    pub session_id: Vec<u8>,
    /// This station's index in the route.
    pub stop_index: u32,
    /// Who asked for it; `None` of an older version's.
    pub principal: Option<String>,
    /// The client's key, or the derived one. It is its principal's own.
    pub idempotency_key: String,
    /// Where its opened content is.
    pub opened_into: OpenInto,
    /// The reference that pre-run was given.
    pub image: String,
    /// Id of the sealed image that arrived.
    pub source_image: String,
    /// Id of the train's base.
    pub base_image: String,
    /// Id of the opened image, announced before it can exist.
    pub opened_image: Option<String>,
    /// Id of the image whose results are being or were sealed.
    pub closing_image: Option<String>,
    /// Id of the sealed image, announced before it can exist.
    pub sealed_image: Option<String>,
    /// Label of the station key.
    pub key_label: String,
    /// `train_config.json` as it arrived; nothing once the run has ended.
    pub config: Vec<u8>,
    /// SHA-256 of it, hex.
    pub config_sha256: String,
    /// The immutable files as pre-run saw them, the query among them.
    pub immutable_files: Vec<FileDigest>,
    /// Pre-run's outcome.
    pub pre_run: Option<PreRunRecord>,
    /// Post-run's outcome.
    pub post_run: Option<PostRunRecord>,
    /// When it began, in seconds since 1970, as the clock said then.
    pub created_at: i64,
    /// When it last changed.
    pub updated_at: i64,
    /// Why it ended without results.
    pub reason: Option<String>,
    /// Who gave it up from outside the service.
    pub abandoned_by: Option<String>,
    /// What still held plaintext when it was aborted.
    pub held: Vec<String>,
    /// The officer's word that its stop may run once more.
    pub released: Option<RerunPermission>,
}

impl Run {
    /// Whether an image is one of the run's own: what came, what was opened, what was sealed.
    pub fn has_image(&self, image_id: &str) -> bool {
        let later = [&self.opened_image, &self.closing_image, &self.sealed_image];
        self.source_image == image_id || later.into_iter().flatten().any(|image| image == image_id)
    }
}

/// An officer's word that a completed run's stop may run once more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RerunPermission {
    /// When, in seconds since 1970.
    pub at: i64,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}
