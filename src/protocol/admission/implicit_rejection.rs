//! Implicit rejection: continues with a substitute envelope key when unwrapping fails, and defers the refusal until all work is
//! done.
//!
//! A caller that could distinguish a failed unwrapping from broken padding or a wrong digest, by the response or by its timing,
//! could use this station as a decryption oracle (Manger 2001, Vaudenay 2002). So no cryptographic failure ends a step early:
//! with a random key in place of one that cannot be unwrapped, the train is read and checked completely, and refused only then.
//! The time depends only on the sizes, which the sender knows.

use std::{cell::OnceCell, fmt::Display};

use stationmaster_train::envelope::EnvelopeKey;

use crate::protocol::context::error::StepError;

/// A train's envelope key or its substitute, and the first failure that was found in the train.
pub(in crate::protocol) struct ProvisionalKey {
    key: EnvelopeKey,
    doubt: OnceCell<String>,
}

impl ProvisionalKey {
    /// Holds the key that was unwrapped, or `substitute` if unwrapping failed.
    pub(crate) fn new(unwrapped: Result<EnvelopeKey, String>, substitute: EnvelopeKey) -> Self {
        match unwrapped {
            Ok(key) => Self { key, doubt: OnceCell::new() },
            Err(cause) => Self { key: substitute, doubt: OnceCell::from(cause) },
        }
    }

    /// Returns the key to continue with: nothing that it opens may be trusted before [`ProvisionalKey::verdict`].
    pub(crate) fn key(&self) -> &EnvelopeKey {
        &self.key
    }

    /// Records a failure for the protected log. The first cause is kept, because the others follow from it.
    pub(crate) fn record_failure(&self, cause: impl Display) {
        self.doubt.get_or_init(|| cause.to_string());
    }

    /// Records a cryptographic refusal and continues; returns every other error.
    pub(crate) fn defer(&self, outcome: Result<(), StepError>) -> Result<(), StepError> {
        match outcome {
            Err(StepError::Untrusted(cause)) => {
                self.record_failure(cause);
                Ok(())
            }
            other => other,
        }
    }

    /// Returns the key once everything has been checked, or the single refusal if anything failed.
    pub(crate) fn verdict(self) -> Result<EnvelopeKey, StepError> {
        match self.doubt.into_inner() {
            None => Ok(self.key),
            Some(cause) => Err(StepError::Untrusted(cause)),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::protocol::admission::implicit_rejection::*;

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
        assert!(padded.defer(Err(StepError::Cancelled)).is_err_and(|error| error.is_cancelled()));
        assert!(refusal(padded).ends_with("the padding"));
    }
}
