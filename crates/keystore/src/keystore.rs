//! The keystore: finds, signs and unwraps with the configured keys of a token.

use std::{sync::Arc, time::Instant};

use zeroize::Zeroizing;

use crate::{
    KeyDescription, KeyId, KeyUses, KeystoreConfig, KeystoreError, OaepScheme, SignScheme, TrialLog,
    pin::PinSource,
    pkcs11::{Key, Pool, Task, not_found},
    verify::signature_holds,
};

/// The configured keys of one token, and a pool of sessions to use them. Cheap to clone. Dropping the last clone joins the
/// worker threads, closes the sessions and then finalises the module.
#[derive(Clone)]
pub struct Keystore {
    pub(crate) pool: Arc<Pool>,
    /// The caller on whose behalf the token is used: callers are served round robin.
    pub(crate) caller: Arc<str>,
}

impl std::fmt::Debug for Keystore {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let labels: Vec<_> = self.keys().into_iter().map(|key| key.label).collect();
        out.debug_struct("Keystore").field("keys", &labels).finish_non_exhaustive()
    }
}

impl Keystore {
    /// Loads the module, logs in, finds every configured key and probes what the token can do with it. Blocks, up to some
    /// hundred milliseconds per key; call it before the runtime starts or on a blocking thread.
    ///
    /// # Errors
    /// Errors of the configuration ([`KeystoreError::TokenNotFound`], [`KeystoreError::KeyNotFound`],
    /// [`KeystoreError::KeyAmbiguous`], …) and of the PIN ([`KeystoreError::PinRejected`], [`KeystoreError::PinLatched`],
    /// [`KeystoreError::PinAtRisk`]), and [`KeystoreError::Unavailable`] when the token is unavailable.
    pub fn open(config: KeystoreConfig) -> Result<Self, KeystoreError> {
        Ok(Self { pool: Arc::new(Pool::open(config)?), caller: Arc::from("service") })
    }

    /// Returns the same keystore, used on behalf of the named caller. Callers are served round robin, and no single caller can
    /// fill the queue.
    #[must_use]
    pub fn on_behalf(&self, caller: &str) -> Self {
        Self { pool: Arc::clone(&self.pool), caller: Arc::from(caller) }
    }

    /// Returns the usable keys, sorted by label. Makes no call to the token.
    pub fn keys(&self) -> Vec<KeyDescription> {
        self.pool.state().keys.present().iter().map(|key| key.description()).collect()
    }

    /// Returns the key with this label. Makes no call to the token.
    ///
    /// # Errors
    /// [`KeystoreError::KeyNotFound`] when no such key is configured, or when it is missing from the token.
    pub fn key(&self, label: &str) -> Result<KeyDescription, KeystoreError> {
        Ok(self.pool.state().keys.known(label)?.ok_or_else(|| not_found(label))?.description())
    }

    /// Returns the key that has this label. Searches the token again when the key was missing before.
    ///
    /// # Errors
    /// [`KeystoreError::KeyNotFound`], and errors of the search in the token.
    pub async fn find(&self, label: &str, deadline: Option<Instant>) -> Result<KeyDescription, KeystoreError> {
        Ok(self.loaded(label, deadline).await?.description())
    }

    /// Returns the labels of the configured keys that are missing from the token. Makes no call to the token.
    pub fn missing(&self) -> Vec<String> {
        self.pool.state().keys.missing()
    }

    /// Signs a digest: one signature on the token, verified with the public key (exact salt length for PSS) before it is
    /// returned. The signature is as long as the modulus. PKCS#11 v2.40 §2.1.6 (v1.5) and §2.1.10 (PSS); the caller hashes.
    ///
    /// # Errors
    /// [`KeystoreError::DigestLength`], [`KeystoreError::KeyNotFound`], [`KeystoreError::MechanismUnsupported`],
    /// [`KeystoreError::Overloaded`], [`KeystoreError::DeadlineExceeded`] (the signature may have been made),
    /// [`KeystoreError::Unavailable`], [`KeystoreError::SignatureInvalid`], [`KeystoreError::Fault`].
    pub async fn sign(
        &self,
        id: KeyId,
        scheme: SignScheme,
        digest: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Vec<u8>, KeystoreError> {
        let (expected, got) = (scheme.hash().digest_len(), digest.len());
        if expected != got {
            return Err(KeystoreError::DigestLength { expected, got });
        }
        let key = self.usable(id, scheme.name(), deadline, |key| key.can_sign(scheme)).await?;
        let task = Task::Sign { key: Arc::clone(&key), scheme, digest: digest.to_vec() };
        let signature = self.pool.call(&self.caller, task, deadline).await?;
        // In the caller's task: the token's thread continues. A public RSA operation takes some ten microseconds.
        if !signature_holds(key.public(), scheme, digest, &signature) {
            tracing::error!(key = key.label(), "the token made a signature that does not verify");
            return Err(KeystoreError::SignatureInvalid);
        }
        Ok(signature.to_vec())
    }

    /// Unwraps a symmetric key: one decryption on the token. PKCS#11 v2.40 §2.1.8 (OAEP), or §2.1.5 (raw RSA) and RFC 8017
    /// §7.1.2 step 3 in this process.
    ///
    /// # Errors
    /// Every defect of the wrapped key is [`KeystoreError::UnwrapFailed`]; other errors are those of [`Keystore::sign`].
    pub async fn unwrap(
        &self,
        id: KeyId,
        scheme: OaepScheme,
        wrapped: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Zeroizing<Vec<u8>>, KeystoreError> {
        let key = self.usable(id, scheme.name(), deadline, |key| key.can_unwrap(scheme)).await?;
        // Both are public facts about the ciphertext; tokens return different values for them.
        if !key.could_have_wrapped(wrapped) {
            return Err(KeystoreError::UnwrapFailed);
        }
        self.pool.call(&self.caller, Task::Unwrap { key, scheme, wrapped: wrapped.to_vec() }, deadline).await
    }

    /// Returns the key with this identity that the token can use for a scheme; reads it again from the token if it was missing.
    async fn usable(
        &self,
        id: KeyId,
        scheme: &'static str,
        deadline: Option<Instant>,
        can: impl Fn(&Key) -> bool,
    ) -> Result<Arc<Key>, KeystoreError> {
        let keys = &self.pool.state().keys;
        let mut present = keys.with_id(id);
        if present.is_empty() {
            for label in keys.labels_of(id) {
                let key = self.loaded(&label, deadline).await?;
                if key.id() != id {
                    // Another key has the label by now.
                    return Err(not_found(&label));
                }
                present.push(key);
            }
        }
        match present.iter().find(|key| can(key)) {
            Some(key) => Ok(Arc::clone(key)),
            None => Err(present.first().map_or_else(|| not_found(&id.to_string()), |key| key.unsupported(scheme))),
        }
    }

    /// Returns the key with this label; reads it again from the token if it was missing.
    async fn loaded(&self, label: &str, deadline: Option<Instant>) -> Result<Arc<Key>, KeystoreError> {
        let keys = &self.pool.state().keys;
        if let Some(key) = keys.known(label)? {
            return Ok(key);
        }
        self.pool.call(&self.caller, Task::Load { label: label.to_owned() }, deadline).await?;
        keys.known(label)?.ok_or_else(|| not_found(label))
    }

    /// Checks with the token that the session is alive and that a key can be found. Uses no key. While the token is unavailable,
    /// each call also triggers an attempt to recover it, so calling this every few seconds bounds the recovery time.
    ///
    /// # Errors
    /// [`KeystoreError::Unavailable`], [`KeystoreError::DeadlineExceeded`], or errors of the new login.
    pub async fn check(&self, deadline: Option<Instant>) -> Result<(), KeystoreError> {
        self.pool.check(deadline).await
    }

    /// Returns the source of the PIN, which a new login reads.
    #[must_use]
    pub fn pin_source(&self) -> PinSource {
        self.pool.state().token.pin_source()
    }

    /// Returns the number of key uses on the token so far.
    pub fn key_uses(&self) -> KeyUses {
        self.pool.state().counters.uses()
    }

    /// Returns the number of calls that wait for the token.
    pub fn waiting(&self) -> usize {
        self.pool.waiting()
    }

    /// Reports every trial from now on to `log`, before it is made. Only the first log that is set is used.
    pub fn announce_trials_to(&self, log: Arc<dyn TrialLog>) {
        self.pool.state().announce_trials_to(log);
    }

    /// Fails all waiting and future calls with [`KeystoreError::Unavailable`]: for the shutdown, when the token does not
    /// respond. Calls that already run in the token continue.
    pub fn give_up(&self) {
        self.pool.give_up();
    }

    /// Stops accepting calls, joins the workers and closes the sessions. Blocks while calls run, for some seconds at most. The
    /// module is finalised when the last clone is dropped. A process should not exit before this has returned, because a token
    /// library may crash when the process ends during a call.
    ///
    /// Returns whether all calls have ended. If a call hangs in the module, the call and the module are left as they are; then
    /// only ending the process without its exit handlers is safe.
    #[must_use]
    pub fn close(&self) -> bool {
        self.pool.close()
    }
}
