//! Unwraps the envelope key of an admitted train, and reads the train's sealed content with it.

use stationmaster_image::store::ImageFiles;
use stationmaster_keystore::KeystoreError;
use stationmaster_train::{digest::Digest, envelope::EnvelopeKey};
use zeroize::Zeroizing;

use super::{admit::AdmittedTrain, audited_keys::OnBehalf, implicit_rejection::ProvisionalKey, station::Station};
use crate::protocol::{
    content::{
        read_sealed::{Destination, ResultsKey, SealedTrain, read_sealed},
        sealed_contents::Contents,
    },
    context::{call_context::CallContext, error::StepError, key_errors::KeyUseError, rule_log::RuleLog},
};

/// An admitted train whose envelope key was unwrapped, or replaced by a substitute.
///
/// The key cannot be taken out: nothing is opened for use before everything is verified.
///
/// ```compile_fail,E0616
/// fn key_of(train: stationmaster::protocol::UnwrappedTrain) {
///     let _ = train.key;
/// }
/// ```
///
/// Without content there is nothing to verify:
///
/// ```compile_fail,E0599
/// use stationmaster::protocol::{CallContext, Policy, UnwrappedTrain};
///
/// fn verify_early(train: UnwrappedTrain, policy: &Policy, call: &CallContext<'_>) {
///     let _ = train.verify(policy, call);
/// }
/// ```
pub struct UnwrappedTrain {
    admitted: AdmittedTrain,
    key: ProvisionalKey,
}

/// A train whose content is in the spool, still sealed. Nothing in it may be used before [`ReadTrain::verify`].
pub struct ReadTrain {
    pub(super) admitted: AdmittedTrain,
    pub(super) contents: Contents,
    pub(super) key: ProvisionalKey,
    pub(super) results_digest: Option<Digest>,
}

impl AdmittedTrain {
    /// Unwraps the train's envelope key: one decryption in the token. A key that cannot be unwrapped is no error here: the step
    /// continues to its end with a substitute.
    ///
    /// # Errors
    /// Those of the token and of the audit.
    pub fn unwrap_key(self, station: &Station, step: &CallContext<'_>) -> Result<UnwrappedTrain, StepError> {
        let wrapped = self.wrapped_key().ok_or(StepError::Invariant("own stop without a key"))?;
        // Made in every case, so that its time reveals nothing.
        let substitute = EnvelopeKey::random().map_err(|_| StepError::Invariant("no random key"))?;
        let key = match wrapped.decode() {
            Err(error) => Err(format!("the wrapped key: {error}")),
            Ok(wrapped) => {
                let unwrapped = station.keys.unwrap_for_train(self.key(), OnBehalf::of(step), &wrapped);
                match station.handle.block_on(unwrapped) {
                    Err(KeyUseError::Keystore(KeystoreError::UnwrapFailed)) => {
                        Err("the wrapped key cannot be unwrapped".to_owned())
                    }
                    other => {
                        let bytes: Zeroizing<Vec<u8>> = other?;
                        EnvelopeKey::from_unwrapped(&bytes).map_err(|_| "the unwrapped key has no cipher's length".to_owned())
                    }
                }
            }
        };
        Ok(UnwrappedTrain { admitted: self, key: ProvisionalKey::new(key, substitute) })
    }
}

impl UnwrappedTrain {
    /// Copies the sealed content to its destination. Results are opened and hashed on the way if a stop has signed.
    ///
    /// # Errors
    /// Those of the image and of the destination.
    pub fn read(
        self,
        files: &dyn ImageFiles,
        destination: Destination<'_>,
        step: &CallContext<'_>,
    ) -> Result<ReadTrain, StepError> {
        let Self { admitted, key } = self;
        let session_id = admitted.document().session_id.as_slice();
        let results = (admitted.stop().signed > 0).then_some(ResultsKey { key: key.key(), session_id });
        let SealedTrain { contents, results } = read_sealed(files, destination, results, admitted.rules(), step)?;
        if results.as_ref().is_some_and(|results| !results.could_be_opened) {
            key.record_failure("a result file cannot be opened");
        }
        Ok(ReadTrain { contents, results_digest: results.map(|results| results.digest), admitted, key })
    }
}

impl ReadTrain {
    /// Returns the rules that were checked so far.
    pub(in crate::protocol) fn rules(&self) -> &RuleLog {
        self.admitted.rules()
    }

    /// Returns the sealed content.
    pub(in crate::protocol) fn contents(&self) -> &Contents {
        &self.contents
    }
}
