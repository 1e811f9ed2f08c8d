//! An envelope key that may be a wrong one, and the doubts about its train: kept until all work is done.
//!
//! Whoever could tell a wrapped key that cannot be unwrapped from broken padding or another digest, by the answer or by its
//! time, could use this station to decrypt (Manger 2001, Vaudenay 2002). So nothing that is found wrong in cryptography ends a
//! step: with a key of the moment in place of one that cannot be unwrapped, the train is read and checked to its end, and
//! refused there. The time depends on what the sender knows anyway: the sizes.

use std::{cell::OnceCell, fmt::Display};

use crate::{protocol::StepError, train::envelope::EnvelopeKey};

/// A train's envelope key, or another in its place, and the first thing that was found wrong with the train.
pub(in crate::protocol) struct ProvisionalKey {
    key: EnvelopeKey,
    doubt: OnceCell<String>,
}

impl ProvisionalKey {
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
    pub fn record_failure(&self, cause: impl Display) {
        self.doubt.get_or_init(|| cause.to_string());
    }

    /// Remembers a cryptographic refusal and goes on; hands every other error back.
    pub fn defer(&self, outcome: Result<(), StepError>) -> Result<(), StepError> {
        match outcome {
            Err(StepError::Untrusted(cause)) => {
                self.record_failure(cause);
                Ok(())
            }
            other => other,
        }
    }

    /// The key, once everything has been checked; the one refusal when anything was wrong.
    pub fn verdict(self) -> Result<EnvelopeKey, StepError> {
        match self.doubt.into_inner() {
            None => Ok(self.key),
            Some(cause) => Err(StepError::Untrusted(cause)),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{image::ImageError, protocol::admission::implicit_rejection::*};

    fn key() -> EnvelopeKey {
        EnvelopeKey::random().unwrap()
    }

    #[test]
    fn whatever_was_doubted_first_is_refused_and_nothing_else_is_swallowed() {
        assert!(ProvisionalKey::new(Ok(key()), key()).verdict().is_ok());
        let refusal = |key: ProvisionalKey| key.verdict().expect_err("doubted").to_string();
        let wrong = ProvisionalKey::new(Err("the key".into()), key());
        wrong.record_failure("the padding");
        assert!(refusal(wrong).ends_with("the key"));
        let padded = ProvisionalKey::new(Ok(key()), key());
        padded.defer(Err(StepError::untrusted("the padding"))).unwrap();
        padded.record_failure("the digest");
        assert!(padded.defer(Err(ImageError::Cancelled.into())).is_err_and(|error| error.is_cancelled()));
        assert!(refusal(padded).ends_with("the padding"));
    }
}
