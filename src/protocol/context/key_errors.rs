//! Errors about keys: a key that could not be used, and a key that is not trusted.

use std::{fmt, sync::Arc};

use stationmaster_keystore::KeystoreError;
use stationmaster_train::rule::Rule;

use crate::{
    audit::AuditError,
    key_states::{KeyState, KeyStatesError},
};

/// Why a key was not used, or its result is withheld.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyUseError {
    /// The keystore's error.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The use could not be recorded. A retry helps when the audit log can be written again.
    #[error("the key's use cannot be recorded: {0}")]
    Audit(#[from] AuditError),
    /// The state of the train key does not allow its use. An administrator decides.
    #[error("the train key {label:?} is {state}")]
    NotInForce {
        /// Its label.
        label: String,
        /// Its state.
        state: KeyState,
    },
    /// The states of the train keys are not known. An administrator must restore the file.
    #[error("the states of the train keys are not known: {0}")]
    States(#[from] Arc<KeyStatesError>),
}

/// The owner of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOwner {
    /// The train's creator.
    Creator,
    /// The stop with this index.
    Stop(i64),
}

/// Formats the owner for error metadata: `creator`, or the stop's index.
impl fmt::Display for KeyOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Creator => f.write_str("creator"),
            Self::Stop(index) => index.fmt(f),
        }
    }
}

/// A key that is not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UntrustedKey {
    /// The owner that the train states.
    pub who: KeyOwner,
    /// The id that the key is stated for. Text of the train, so for the log only.
    pub id: String,
    /// The key's fingerprint.
    pub fingerprint: String,
    /// Whether another key is trusted for this id.
    pub changed: bool,
    /// The rule that requires the key to be trusted.
    pub rule: Rule,
}

/// Formats the refusal for the log.
impl fmt::Display for UntrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { who, id, fingerprint, changed, rule } = self;
        let known = if *changed { "another key is known for this id" } else { "this id is not known" };
        write!(f, "the key {fingerprint} of {who} ({id:?}), by the rule {}: {known}", rule.name())
    }
}
