//! An envelope key that may be a wrong one, and the doubts about its train: kept until all work is done.
//!
//! Whoever could tell a wrapped key that cannot be unwrapped from broken padding or another digest, by the answer or by its
//! time, could use this station to decrypt (Manger 2001, Vaudenay 2002). So nothing that is found wrong in cryptography ends a
//! step: with a key of the moment in place of one that cannot be unwrapped, the train is read and checked to its end, and
//! refused there. The time depends on what the sender knows anyway: the sizes.

use std::{cell::OnceCell, fmt::Display};

use super::StepError;
use crate::train::envelope::EnvelopeKey;

/// A train's envelope key, or another in its place, and the first thing that was found wrong with the train.
pub(super) struct UnwrappedKey {
    key: EnvelopeKey,
    doubt: OnceCell<String>,
}

impl UnwrappedKey {
    /// The key that was unwrapped; `substitute` takes its place where there is none.
    pub fn new(unwrapped: Result<EnvelopeKey, String>, substitute: EnvelopeKey) -> Self {
        match unwrapped {
            Ok(key) => Self { key, doubt: OnceCell::new() },
            Err(cause) => Self { key: substitute, doubt: OnceCell::from(cause) },
        }
    }

    /// The key to go on with: nothing that it opens may be believed before [`UnwrappedKey::settle`].
    pub fn key(&self) -> &EnvelopeKey {
        &self.key
    }

    /// Remembers what is wrong, for the protected log; the first cause counts, for the others follow from it.
    pub fn doubt(&self, cause: impl Display) {
        self.doubt.get_or_init(|| cause.to_string());
    }

    /// Remembers a cryptographic refusal and goes on; hands every other error back.
    pub fn hold(&self, outcome: Result<(), StepError>) -> Result<(), StepError> {
        match outcome {
            Err(StepError::Untrusted(cause)) => {
                self.doubt(cause);
                Ok(())
            }
            other => other,
        }
    }

    /// The key, once everything has been checked; the one refusal when anything was wrong.
    pub fn settle(self) -> Result<EnvelopeKey, StepError> {
        match self.doubt.into_inner() {
            None => Ok(self.key),
            Some(cause) => Err(StepError::Untrusted(cause)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::ImageError;

    fn key() -> EnvelopeKey {
        EnvelopeKey::random().unwrap()
    }

    #[test]
    fn whatever_was_doubted_first_is_refused_and_nothing_else_is_swallowed() {
        assert!(UnwrappedKey::new(Ok(key()), key()).settle().is_ok());
        let refusal = |key: UnwrappedKey| key.settle().expect_err("doubted").to_string();
        let wrong = UnwrappedKey::new(Err("the key".into()), key());
        wrong.doubt("the padding");
        assert!(refusal(wrong).ends_with("the key"));
        let padded = UnwrappedKey::new(Ok(key()), key());
        padded.hold(Err(StepError::untrusted("the padding"))).unwrap();
        padded.doubt("the digest");
        assert!(padded.hold(Err(ImageError::Cancelled.into())).is_err_and(|error| error.is_cancelled()));
        assert!(refusal(padded).ends_with("the padding"));
    }
}
