//! Why an attempt on the token ended without a result.

use cryptoki::{error::Error, session::Session};

use super::rv::{RvClass, classify, handle_is_stale, translate};
use crate::KeystoreError;

/// Distinguishes what is final from what a new session, a new login or a new module may correct.
pub(super) enum AttemptError {
    /// The token returned a proper result, or was not asked; the session is usable.
    Decided(KeystoreError),
    /// The session must be closed.
    Token(Error),
}

impl From<Error> for AttemptError {
    fn from(error: Error) -> AttemptError {
        AttemptError::Token(error)
    }
}

impl From<KeystoreError> for AttemptError {
    fn from(error: KeystoreError) -> AttemptError {
        AttemptError::Decided(error)
    }
}

/// The error for a caller, where nothing is tried again: whatever the session lost, the caller retries.
impl From<AttemptError> for KeystoreError {
    fn from(error: AttemptError) -> KeystoreError {
        match error {
            AttemptError::Decided(error) => error,
            AttemptError::Token(error) => match classify(&error) {
                RvClass::Session | RvClass::Handle | RvClass::Login => {
                    KeystoreError::Unavailable { reason: "the session was lost" }
                }
                _ => translate(&error),
            },
        }
    }
}

/// Ends the use of a session after an error of unknown effect. A session that the token no longer knows is not closed, because its
/// number may belong to another one by now.
pub(super) fn abandon(session: Session, error: &Error) {
    if handle_is_stale(error) {
        std::mem::forget(session);
    }
}
