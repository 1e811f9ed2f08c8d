//! Errors of the protocol's steps.

use std::sync::Arc;

use stationmaster_image::{
    ImageError,
    oci::reference::{ImageName, ImageSource},
    store::recipe::WriteError,
};
use stationmaster_keystore::KeystoreError;
use stationmaster_train::{
    config::TrainConfigError,
    route::{RouteError, StopIndex},
    rule::Rule,
};
use thiserror::Error;

use super::key_errors::{KeyUseError, UntrustedKey};
use crate::{
    audit::AuditError,
    key_states::{KeyState, KeyStatesError},
    ledger::{LedgerError, RunId, RunState},
    trust::TrustError,
};

/// Reason for a step's refusal or failure. `Display` is for the service's own log.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StepError {
    /// An error of the image, the engine or the spool.
    #[error(transparent)]
    Image(ImageError),
    /// The train breaks a rule that this station enforces. The train's fault.
    #[error("the image breaks the rule {}", rule.name())]
    Rule {
        /// The rule.
        rule: Rule,
        /// The cause, for the protected log only: it may contain the image's own bytes.
        detail: String,
    },
    /// The caller closed the call, or its deadline passed.
    #[error("cancelled")]
    Cancelled,
    /// An error of the ledger. The administrator's responsibility.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// An error of the token.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The image that the call names does not exist here. A retry helps after a pull.
    #[error("there is no image {0} here")]
    ImageNotFound(ImageSource),
    /// The image has no train config.
    #[error("the image holds no /opt/train_config.json")]
    NotATrain,
    /// The train config cannot be parsed. The train's fault.
    #[error(transparent)]
    Config(#[from] TrainConfigError),
    /// The route does not allow this station to run the train now. The train's fault.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The route's entry for this station names a key that this station does not hold.
    #[error("the route's entry for this station names none of its train keys")]
    ForeignRouteKey,
    /// The route's entry for this station names a train key that is not, or no longer, in use.
    #[error("the route's entry for this station names the train key {label:?}, which is {state}")]
    RouteKeyNotInForce {
        /// The key's label.
        label: String,
        /// Its state.
        state: KeyState,
    },
    /// The states of the train keys are not known. An administrator must restore the file.
    #[error("the states of the train keys are not known: {0}")]
    KeyStatesNotReady(Arc<KeyStatesError>),
    /// No grant covers this train for the caller.
    #[error("not granted for this train")]
    TrainNotGranted,
    /// An error that only a caller with a grant for the train may see. The cause is for the audit.
    #[error("not told to a caller without a grant for the train: {0}")]
    Hidden(Box<StepError>),
    /// The train's session was opened here with another train, another creator, or at another stop. Nothing was opened.
    #[error("the train's session was opened here before, with another {differs}")]
    SessionDiffers {
        /// `train-id`, `creator` or `stop`.
        differs: &'static str,
        /// The newest run of the session.
        run: Option<RunId>,
    },
    /// No grant covers the station's key on this train's route for the caller.
    #[error("not granted for this key")]
    KeyNotGranted,
    /// The audit log rejected the record, so the operation was not performed or its result is withheld. A retry helps after the
    /// administrator has repaired the log.
    #[error("it cannot be recorded: {0}")]
    Audit(#[from] AuditError),
    /// The verification of the train failed: wrapped key, padding, digest or signature. The detail is for the protected log
    /// only; the caller receives nothing but this reason.
    #[error("the train did not prove itself: {0}")]
    Untrusted(String),
    /// The station does not trust a key in the train. A security officer decides; nothing was opened, signed or wrapped.
    #[error("not trusted: {0}")]
    KeyUntrusted(Box<UntrustedKey>),
    /// The trust file is not available. A security officer must provide it.
    #[error("whom to believe is not known: {0}")]
    TrustNotReady(TrustError),
    /// A key trusted on first use could not be stored. The administrator's responsibility (disk, permissions).
    #[error("a key that was seen first could not be kept: {0}")]
    TrustNotKept(TrustError),
    /// The train's `base` does not exist here. A retry helps after a pull.
    #[error("there is no image {0} here")]
    BaseMissing(String),
    /// No master that this station allows can be found. A security officer can allow one, or a retry helps after a pull.
    #[error("{what}{}", wanted.as_ref().map(|name| format!(": {name:?}")).unwrap_or_default())]
    MasterUnknown {
        /// The kind of the missing object.
        what: &'static str,
        /// The master that the call names.
        wanted: Option<String>,
    },
    /// No run has that id.
    #[error("there is no run {0:?}")]
    RunNotFound(String),
    /// No run of the train belongs to that image.
    #[error("there is no run of the train in {0}")]
    NoRunOfImage(ImageName),
    /// The run's state does not allow the operation.
    #[error("run {id} is {}", state.as_str())]
    RunState {
        /// The run.
        id: RunId,
        /// Its state.
        state: RunState,
    },
    /// The content to seal equals what pre-run opened, and the caller has not confirmed that. The run stays open.
    #[error("run {id} left nothing: what would be sealed is what pre-run opened")]
    Unchanged {
        /// The run.
        id: RunId,
        /// The unchanged image; empty if the content is outside an image.
        image: String,
    },
    /// This station has finished the train's stop, or a later one: it is not opened again unless an administrator allows it.
    #[error("the train was finished here before, at stop {stop} by run {run}")]
    Replayed {
        /// The run that finished it.
        run: RunId,
        /// Its stop.
        stop: StopIndex,
    },
    /// A train was to be opened into a directory, and no directory is shared with the engine. The administrator configures one.
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
    /// The caller's request is invalid.
    #[error("{0}")]
    Request(&'static str),
    /// An internal invariant was violated.
    #[error("an invariant was broken: {0}")]
    Invariant(&'static str),
}

impl From<ImageError> for StepError {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Cancelled => Self::Cancelled,
            other => Self::Image(other),
        }
    }
}

impl From<KeyUseError> for StepError {
    fn from(error: KeyUseError) -> Self {
        match error {
            KeyUseError::Keystore(error) => Self::Keystore(error),
            KeyUseError::Audit(error) => Self::Audit(error),
            KeyUseError::NotInForce { label, state } => Self::RouteKeyNotInForce { label, state },
            KeyUseError::States(error) => Self::KeyStatesNotReady(error),
        }
    }
}

impl From<StepError> for WriteError {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Image(error) => Self::Image(error),
            other => Self::Caller(Box::new(other)),
        }
    }
}

impl From<WriteError> for StepError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Image(error) => error.into(),
            WriteError::Caller(error) => error.downcast().map_or(Self::Invariant("an error of no step"), |error| *error),
        }
    }
}

impl StepError {
    /// Whether the error reveals what exists: an image, its kind, or a run. Errors that reveal only the station's condition may
    /// be returned to any caller.
    pub(in crate::protocol) fn reveals_existence(&self) -> bool {
        match self {
            Self::Image(error) => {
                !matches!(error, ImageError::Reference(_) | ImageError::NoEngine | ImageError::EngineUnavailable(_))
            }
            Self::Rule { .. }
            | Self::NotATrain
            | Self::Config(_)
            | Self::Route(_)
            | Self::ForeignRouteKey
            | Self::RouteKeyNotInForce { .. }
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

    /// Whether the caller cancelled the step: its effects are undone nevertheless.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }

    /// Returns the refusal of a train that breaks a rule.
    pub(in crate::protocol) fn rule(rule: Rule, detail: impl Into<String>) -> Self {
        Self::Rule { rule, detail: detail.into() }
    }

    pub(in crate::protocol) fn untrusted(detail: impl std::fmt::Display) -> Self {
        Self::Untrusted(detail.to_string())
    }
}
