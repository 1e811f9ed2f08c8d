//! The keystore: finds, signs and unwraps with the configured keys of a token.

use std::{sync::Arc, time::Instant};

use zeroize::Zeroizing;

#[cfg(test)]
use crate::pkcs11::Pool;
use crate::{
    Hash, KeyDescription, KeyId, KeyUses, KeystoreConfig, KeystoreError, OaepScheme, SignScheme, TokenStatus, TrialLog,
    backend::Backend,
    operation::{Operation, Outcome},
    pin::PinSource,
    pkcs11::not_found,
    tokens::{Member, Tokens},
};

/// The configured keys of one or several tokens, and pools of sessions to use them. Cheap to clone. Dropping the last clone joins
/// the worker threads, closes the sessions and then finalises the modules.
///
/// A key is its public key: a key that several tokens have is one key, and a call with it goes to one that answers. When a token fails
/// during a call, the next one gets it.
#[derive(Clone)]
pub struct Keystore {
    tokens: Arc<Tokens>,
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
    /// Opens a keystore of one token: see [`Keystore::open_tokens`].
    ///
    /// # Errors
    /// Those of [`Keystore::open_tokens`].
    pub fn open(config: KeystoreConfig) -> Result<Self, KeystoreError> {
        Self::open_tokens(vec![config])
    }

    /// Loads the modules, logs in, finds every configured key and probes what the tokens can do with it. Blocks, up to some
    /// hundred milliseconds per key; call it before the runtime starts or on a blocking thread.
    ///
    /// A key is its public key: a token that has no key of a label, but under another label the key that another token has under
    /// this one, has the key. It is found when the token is opened or at the next [`Keystore::check`].
    ///
    /// A single token must be there, with all its keys. Of several tokens each may lack keys or be away, and is opened when it
    /// appears, if each key is on one that is there.
    ///
    /// # Errors
    /// Errors of the configuration ([`KeystoreError::TokenNotFound`], [`KeystoreError::KeyNotFound`],
    /// [`KeystoreError::KeyAmbiguous`], [`KeystoreError::KeysDiffer`], …) and of the PIN ([`KeystoreError::PinRejected`],
    /// [`KeystoreError::PinLatched`], [`KeystoreError::PinAtRisk`]), and [`KeystoreError::Unavailable`] when the token is
    /// unavailable.
    pub fn open_tokens(configs: Vec<KeystoreConfig>) -> Result<Self, KeystoreError> {
        Ok(Self { tokens: Arc::new(Tokens::open(configs)?), caller: Arc::from("service") })
    }

    /// Returns the same keystore, used on behalf of the named caller. Callers are served round robin, and no single caller can
    /// fill the queue.
    #[must_use]
    pub fn on_behalf(&self, caller: &str) -> Self {
        Self { tokens: Arc::clone(&self.tokens), caller: Arc::from(caller) }
    }

    /// Returns the usable keys, sorted by label. Makes no call to the token.
    pub fn keys(&self) -> Vec<KeyDescription> {
        self.tokens.keys()
    }

    /// Returns the key with this label. Makes no call to the token.
    ///
    /// # Errors
    /// [`KeystoreError::KeyNotFound`] when no such key is configured, or when it is missing from all tokens.
    pub fn key(&self, label: &str) -> Result<KeyDescription, KeystoreError> {
        self.tokens.keys().into_iter().find(|key| key.label == label).ok_or_else(|| not_found(label))
    }

    /// Returns the key that has this label. Searches the tokens again when the key was missing before.
    ///
    /// # Errors
    /// [`KeystoreError::KeyNotFound`], and errors of the search in the token.
    pub async fn find(&self, label: &str, deadline: Option<Instant>) -> Result<KeyDescription, KeystoreError> {
        if let Ok(key) = self.key(label) {
            return Ok(key);
        }
        let mut failure = not_found(label);
        for member in self.tokens.members() {
            let found = match member.backend() {
                Ok(backend) => backend.find(&self.caller, label, deadline).await,
                Err(error) => Err(error),
            };
            match found {
                Ok(key) => return Ok(key),
                Err(error) if error.concerns_one_token() => failure = failure.or_worse(error),
                Err(error) => return Err(error),
            }
        }
        Err(failure)
    }

    /// Returns the labels of the configured keys that are missing from all tokens. Makes no call to the token.
    pub fn missing(&self) -> Vec<String> {
        let present = self.tokens.keys();
        let is_missing = |label: &&str| !present.iter().any(|key| key.label == *label);
        self.tokens.labels().into_iter().filter(is_missing).map(str::to_owned).collect()
    }

    /// Signs a digest, or for [`SignScheme::Ed25519`] the message itself: one signature on the token, verified with the public key (exact
    /// salt length for PSS) before it is returned. An RSA signature is as long as the modulus; an ECDSA signature is ASN.1 DER, an Ed25519
    /// one 64 bytes. PKCS#11 v2.40 §2.1.6 (v1.5), §2.1.10 (PSS) and §2.3.6 (ECDSA), v3.0 §2.3.14 (EdDSA); the caller hashes.
    ///
    /// # Errors
    /// [`KeystoreError::DigestLength`], [`KeystoreError::KeyNotFound`], [`KeystoreError::MechanismUnsupported`],
    /// [`KeystoreError::SchemeOfOtherType`], [`KeystoreError::Overloaded`], [`KeystoreError::DeadlineExceeded`] (the signature may have been made),
    /// [`KeystoreError::Unavailable`], [`KeystoreError::SignatureInvalid`], [`KeystoreError::Fault`].
    pub async fn sign(
        &self,
        id: KeyId,
        scheme: SignScheme,
        signed: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Vec<u8>, KeystoreError> {
        if let Some(expected) = scheme.hash().map(Hash::digest_len)
            && expected != signed.len()
        {
            return Err(KeystoreError::DigestLength { expected, got: signed.len() });
        }
        self.with_key(id, Operation::Sign { scheme, signed }, deadline).await.map(|signature| signature.to_vec())
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
        self.with_key(id, Operation::Unwrap { scheme, wrapped }, deadline).await
    }

    /// Carries out an operation on one token after the other, until one answers it.
    async fn with_key(&self, id: KeyId, operation: Operation<'_>, deadline: Option<Instant>) -> Outcome {
        let mut failure: Option<KeystoreError> = None;
        // Whether a token may have used the key without an answer.
        let mut used = false;
        for member in self.tokens.for_key(id) {
            let answer = match member.backend() {
                Ok(backend) => {
                    if used {
                        // The call's record announces one use.
                        member.announce_use(id, operation).await?;
                    }
                    let _in_progress = member.begin();
                    let before = backend.uses();
                    let answer = backend.carry_out(&self.caller, id, operation, deadline).await;
                    // Calls of others count, too: an announcement too many does no harm.
                    used = answer.is_err() && backend.uses() != before;
                    answer
                }
                Err(error) => Err(error),
            };
            match answer {
                Err(error) if error.concerns_one_token() => {
                    failure = Some(match failure {
                        None => error,
                        Some(earlier) => earlier.or_worse(error),
                    });
                }
                decided => return decided,
            }
        }
        Err(failure.unwrap_or_else(|| not_found(&id.to_string())))
    }

    /// Checks with each token that a session is alive and that a key can be found. Uses no key. While a token is unavailable,
    /// each call also triggers an attempt to recover it, so calling this every few seconds bounds the recovery time.
    ///
    /// # Errors
    /// When a key is only on tokens that do not serve calls, or no token does: [`KeystoreError::Unavailable`],
    /// [`KeystoreError::DeadlineExceeded`], or errors of the new login. [`Keystore::tokens`] tells the others.
    pub async fn check(&self, deadline: Option<Instant>) -> Result<(), KeystoreError> {
        self.tokens.share_identities();
        let checks = self.tokens.members().iter().map(|member| {
            let backend = member.backend();
            async move { backend?.check(deadline).await }
        });
        let outcomes = futures_util::future::join_all(checks).await;
        let checked = || self.tokens.members().iter().zip(&outcomes);
        let served: Vec<_> = checked().filter(|(_, outcome)| outcome.is_ok()).flat_map(|(member, _)| member.keys()).collect();
        let is_needed = |member: &Member| member.last_shown().iter().any(|id| !served.iter().any(|key| key.id == *id));
        let none = outcomes.iter().all(Result::is_err);
        match checked().find_map(|(member, outcome)| outcome.as_ref().err().filter(|_| none || is_needed(member))) {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Returns the state of each token, in the order of the configuration. Makes no call to a token.
    pub fn tokens(&self) -> Vec<TokenStatus> {
        self.tokens.members().iter().map(|member| member.status()).collect()
    }

    /// Returns the sources of the PINs, which a new login reads, in the order of the configuration.
    #[must_use]
    pub fn pin_sources(&self) -> Vec<PinSource> {
        self.tokens.members().iter().map(|member| member.pin_source()).collect()
    }

    /// Returns the number of key uses on the tokens so far.
    pub fn key_uses(&self) -> KeyUses {
        self.backends().map(|backend| backend.uses()).fold(KeyUses::default(), |sum, uses| KeyUses {
            signatures: sum.signatures + uses.signatures,
            decryptions: sum.decryptions + uses.decryptions,
        })
    }

    /// Returns the number of calls that wait for a token.
    pub fn waiting(&self) -> usize {
        self.backends().map(|backend| backend.waiting()).sum()
    }

    fn backends(&self) -> impl Iterator<Item = Arc<Backend>> {
        self.tokens.members().iter().filter_map(|member| member.backend().ok())
    }

    /// Reports every trial from now on to `log`, before it is made. Only the first log that is set is used.
    pub fn announce_trials_to(&self, log: Arc<dyn TrialLog>) {
        self.tokens.announce_trials_to(&log);
    }

    /// Fails all waiting and future calls with [`KeystoreError::Unavailable`]: for the shutdown, when a token does not
    /// respond. Calls that already run in a token continue.
    pub fn give_up(&self) {
        self.backends().for_each(|backend| backend.give_up());
    }

    /// Stops accepting calls, joins the workers and closes the sessions. Blocks while calls run, for some seconds at most. The
    /// module is finalised when the last clone is dropped. A process should not exit before this has returned, because a token
    /// library may crash when the process ends during a call.
    ///
    /// Returns whether all calls have ended. If a call hangs in the module, the call and the module are left as they are; then
    /// only ending the process without its exit handlers is safe.
    #[must_use]
    pub fn close(&self) -> bool {
        self.tokens.close()
    }

    /// Returns the pool of the first token in this process.
    #[cfg(test)]
    pub(crate) fn pool(&self) -> Arc<Pool> {
        let backends: Vec<_> = self.backends().collect();
        backends.iter().find_map(|backend| backend.in_process()).expect("a token is open in this process")
    }

    /// Returns the number of calls that went to each token.
    #[cfg(test)]
    pub(crate) fn calls_by_token(&self) -> Vec<u64> {
        self.tokens.members().iter().map(|member| member.served()).collect()
    }
}
