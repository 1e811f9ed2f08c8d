//! Operations with a key of one token: finds the key, has a worker use it, and verifies what comes back.

use std::{sync::Arc, time::Instant};

use super::{
    keys::{Key, not_found},
    pool::Pool,
    worker::Task,
};
use crate::{
    KeyId, KeyType, KeystoreError,
    operation::{Operation, Outcome},
    verify::signature_holds,
};

impl Pool {
    /// Carries out an operation with the key of this identity.
    pub(crate) async fn carry_out(
        &self,
        caller: &Arc<str>,
        id: KeyId,
        operation: Operation<'_>,
        deadline: Option<Instant>,
    ) -> Outcome {
        match operation {
            Operation::Sign { scheme, signed } => {
                let asked = (scheme.name(), scheme.key_type());
                let key = self.usable(caller, id, asked, deadline, |key| key.can_sign(scheme)).await?;
                let task = Task::Sign { key: Arc::clone(&key), scheme, signed: signed.to_vec() };
                let signature = self.call(caller, task, deadline).await?;
                // In the caller's task: the token's thread continues. A public operation takes some ten microseconds (RSA) to
                // some hundred (ECDSA).
                if !signature_holds(key.public(), scheme, signed, &signature) {
                    tracing::error!(key = key.label(), "the token made a signature that does not verify");
                    return Err(KeystoreError::SignatureInvalid);
                }
                Ok(signature)
            }
            Operation::Unwrap { scheme, wrapped } => {
                let asked = (scheme.name(), KeyType::Rsa);
                let key = self.usable(caller, id, asked, deadline, |key| key.can_unwrap(scheme)).await?;
                // Both are public facts about the ciphertext; tokens return different values for them.
                if !key.could_have_wrapped(wrapped) {
                    return Err(KeystoreError::UnwrapFailed);
                }
                self.call(caller, Task::Unwrap { key, scheme, wrapped: wrapped.to_vec() }, deadline).await
            }
        }
    }

    /// Returns the key with this identity that the token can use for a scheme; reads it again from the token if it was missing.
    async fn usable(
        &self,
        caller: &Arc<str>,
        id: KeyId,
        (scheme, needed): (&'static str, KeyType),
        deadline: Option<Instant>,
        can: impl Fn(&Key) -> bool,
    ) -> Result<Arc<Key>, KeystoreError> {
        let keys = &self.state().keys;
        let mut present = keys.with_id(id);
        if present.is_empty() {
            for label in keys.labels_of(id) {
                let key = self.find(caller, &label, deadline).await?;
                if key.id() != id {
                    // Another key has the label by now.
                    return Err(not_found(&label));
                }
                present.push(key);
            }
        }
        match present.iter().find(|key| can(key)) {
            Some(key) => Ok(Arc::clone(key)),
            None => Err(present.first().map_or_else(|| not_found(&id.to_string()), |key| key.unsupported(scheme, needed))),
        }
    }

    /// Returns the key with this label; reads it again from the token if it was missing.
    pub(crate) async fn find(
        &self,
        caller: &Arc<str>,
        label: &str,
        deadline: Option<Instant>,
    ) -> Result<Arc<Key>, KeystoreError> {
        let keys = &self.state().keys;
        if let Some(key) = keys.known(label)? {
            return Ok(key);
        }
        self.call(caller, Task::Load { label: label.to_owned() }, deadline).await?;
        keys.known(label)?.ok_or_else(|| not_found(label))
    }
}
