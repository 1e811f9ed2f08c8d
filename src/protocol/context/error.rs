//! Why a step refused or failed.

use thiserror::Error;

use crate::{
    audit::AuditError,
    image::{
        ImageError,
        oci::reference::{ImageName, ImageSource},
    },
    keystore::KeystoreError,
    ledger::{LedgerError, RunState},
    protocol::{KeyUseError, admission::trust_check::UntrustedKey},
    train::{config::ConfigError, route::RouteError},
    trust::TrustError,
};

/// Why a step refused or failed. Display is for the service's own log.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StepError {
    /// The image, the engine or the spool.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The ledger. The operator's fault.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The token.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The image that the call names is not here. A retry helps after a pull.
    #[error("there is no image {0} here")]
    ImageNotFound(ImageSource),
    /// The image holds no train config.
    #[error("the image holds no /opt/train_config.json")]
    NotATrain,
    /// The train config cannot be read. The train's fault.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The route does not let this station run the train now. The train's fault.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The route's entry for this station names a key that this station does not hold.
    #[error("the route's entry for this station names none of its train keys")]
    ForeignRouteKey,
    /// No grant covers this train for the caller.
    #[error("not granted for this train")]
    TrainNotGranted,
    /// Something that only a caller with a grant for the train may be told. The cause is for the audit.
    #[error("not told to a caller without a grant for the train: {0}")]
    Hidden(Box<StepError>),
    /// The train's session was opened here as another train's, another creator's, or at another stop. Nothing was opened.
    #[error("the train's session was opened here before, with another {differs}")]
    SessionDiffers {
        /// `train-id`, `creator` or `stop`.
        differs: &'static str,
        /// The newest run of the session.
        run: Option<String>,
    },
    /// No grant covers the station's key on this train's route for the caller.
    #[error("not granted for this key")]
    KeyNotGranted,
    /// It could not be recorded, so it was not done, or nobody may know. The operator's to mend; a retry helps then.
    #[error("it cannot be recorded: {0}")]
    Audit(#[from] AuditError),
    /// The train did not prove itself: wrapped key, padding, digest or signature. The detail is for the protected log only;
    /// the caller learns nothing but this.
    #[error("the train did not prove itself: {0}")]
    Untrusted(String),
    /// A key in the train is not one this station believes. An officer decides; nothing was opened, signed or wrapped.
    #[error("not believed: {0}")]
    KeyUntrusted(Box<UntrustedKey>),
    /// There is nothing that says whom to believe. An officer's to mend.
    #[error("whom to believe is not known: {0}")]
    TrustNotReady(TrustError),
    /// A key that was seen first could not be kept. The operator's fault (disk, permissions).
    #[error("a key that was seen first could not be kept: {0}")]
    TrustNotKept(TrustError),
    /// The train's `base` is not here. A retry helps after a pull.
    #[error("there is no image {0} here")]
    BaseMissing(String),
    /// No master that this station allows can be found. An officer's to allow, or a retry helps after a pull.
    #[error("{what}{}", wanted.as_ref().map(|name| format!(": {name:?}")).unwrap_or_default())]
    MasterUnknown {
        /// What there is not.
        what: &'static str,
        /// The one that the call names.
        wanted: Option<String>,
    },
    /// There is no run of that id.
    #[error("there is no run {0:?}")]
    RunNotFound(String),
    /// There is no run of the train in that image.
    #[error("there is no run of the train in {0}")]
    NoRunOfImage(ImageName),
    /// The run is in a state that does not allow this.
    #[error("run {id} is {}", state.as_str())]
    RunState {
        /// The run.
        id: String,
        /// Its state.
        state: RunState,
    },
    /// What would be sealed is what pre-run opened, and the caller has not said that it is meant. The run stays open.
    #[error("run {id} left nothing: what would be sealed is what pre-run opened")]
    Unchanged {
        /// The run.
        id: String,
        /// The image that was not changed; empty where the content is beside it.
        image: String,
    },
    /// This station has finished the train's stop, or a later one: it is not opened again unless an officer allows it.
    #[error("the train was finished here before, at stop {stop} by run {run}")]
    Replayed {
        /// The run that finished it.
        run: String,
        /// Its stop.
        stop: u32,
    },
    /// A train was to be opened into a directory, and none is shared with the engine. The operator's to configure.
    #[error("no directory is shared with the engine")]
    NoSharedDirectory,
    /// The idempotency key was used with another image.
    #[error("the idempotency key was used with another image")]
    IdempotencyMismatch,
    /// Another call is working on this train's stop. A retry helps.
    #[error("another call is working on this train")]
    Busy,
    /// The reference was moved while the step worked. A retry helps.
    #[error("the image's name was moved meanwhile")]
    ImageChanged,
    /// The caller's request makes no sense.
    #[error("{0}")]
    Request(&'static str),
    /// A promise of our own code was broken.
    #[error("an invariant was broken: {0}")]
    Invariant(&'static str),
}

impl From<KeyUseError> for StepError {
    fn from(error: KeyUseError) -> Self {
        match error {
            KeyUseError::Keystore(error) => Self::Keystore(error),
            KeyUseError::Audit(error) => Self::Audit(error),
        }
    }
}

impl StepError {
    /// Whether it says what there is: an image, what kind of one, a run. What says no more than how the station is may be told to everybody.
    pub(in crate::protocol) fn tells_of_what_is_there(&self) -> bool {
        match self {
            Self::Image(error) => !matches!(
                error,
                ImageError::Reference(_) | ImageError::NoEngine | ImageError::EngineUnavailable(_) | ImageError::Cancelled
            ),
            Self::NotATrain
            | Self::Config(_)
            | Self::Route(_)
            | Self::ForeignRouteKey
            | Self::BaseMissing(_)
            | Self::ImageNotFound(_)
            | Self::RunNotFound(_)
            | Self::NoRunOfImage(_)
            | Self::RunState { .. }
            | Self::Replayed { .. }
            | Self::SessionDiffers { .. }
            | Self::IdempotencyMismatch => true,
            _ => false,
        }
    }

    /// Whether the caller went away: the step's effects are undone all the same.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Image(ImageError::Cancelled))
    }

    pub(in crate::protocol) fn untrusted(detail: impl std::fmt::Display) -> Self {
        Self::Untrusted(detail.to_string())
    }
}
