//! Private keys in a PKCS#11 token: finding, probing, signing and unwrapping.
//!
//! Keys live in the token and never leave it. [`Keystore`] finds the configured keys, learns by trial operations what the token can
//! do with each, and signs and unwraps with them through a bounded pool of sessions. What a key *may* be used for is not
//! decided here: the service layer above knows its callers.
//!
//! This applies to a station's keys. Creators of trains may have their keys in a file: [`software`].
//!
//! Only `keystore/pkcs11` uses the PKCS#11 library; raw RSA output never leaves that module.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use zeroize::Zeroizing;

pub mod admin;
mod config;
mod error;
pub mod label;
pub mod pin;
pub mod pin_latch;
mod pkcs11;
mod scheme;
pub mod softhsm;
pub mod software;
#[cfg(test)]
mod tests;
mod verify;

pub use config::{KeyConfig, KeystoreConfig, TokenAccess, TokenSelector};
pub use error::KeystoreError;
pub use scheme::{Hash, OaepScheme, SignScheme};

/// Purpose of a private key. A key has exactly one purpose, set by the configuration, not by the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// The station's key on a train's route: used by the protocol only.
    Train,
    /// A key for all other operations.
    General,
    /// The key that signs the checkpoints of the audit log, and nothing else.
    Audit,
}

impl Purpose {
    /// Returns the purpose's name: `train`, `general`, `audit`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::General => "general",
            Self::Audit => "audit",
        }
    }
}

/// How a scheme is carried out with a key on this token, found by a trial operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// The token performs the whole operation.
    Native,
    /// The token performs raw RSA (`CKM_RSA_X_509`); this process removes the padding in constant time.
    Raw,
    /// The scheme is not available, or the configuration does not allow the way in which it would be.
    No,
}

impl Capability {
    /// Returns the capability's name in the gRPC contract: `native`, `raw` or `no`.
    pub fn name(self) -> &'static str {
        match self {
            Capability::Native => "native",
            Capability::Raw => "raw",
            Capability::No => "no",
        }
    }
}

/// An RSA key pair whose private half is in the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    /// `CKA_LABEL`, unique among the configured keys.
    pub label: String,
    /// `CKA_ID` of the private key.
    pub id: Vec<u8>,
    /// The key's purpose according to the configuration.
    pub purpose: Purpose,
    /// Size of the modulus in bits.
    pub bits: u32,
    /// SubjectPublicKeyInfo, DER.
    pub spki_der: Vec<u8>,
    /// `CKA_SENSITIVE`: the private key cannot be read in plain text.
    pub sensitive: bool,
    /// `CKA_EXTRACTABLE`: the private key can be exported in wrapped form.
    pub extractable: bool,
    /// `CKA_NEVER_EXTRACTABLE`: the private key has never been extractable since its generation.
    pub never_extractable: bool,
    /// `CKA_LOCAL`: generated in this token, not imported.
    pub generated_in_token: bool,
    /// Capability by scheme name (`RSA_OAEP_SHA512`, …); empty when the key has not been probed.
    pub capabilities: BTreeMap<&'static str, Capability>,
}

/// Whether the token can be used at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Logged in, and the keys were found.
    Ready,
    /// Unavailable; the keystore tries to recover it in the background.
    Down {
        /// When the token became unavailable.
        since: Instant,
        /// What was observed, without secrets.
        reason: &'static str,
    },
}

/// Number of uses of this keystore's keys on the token since it was opened, including the trials at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyUses {
    /// Signatures requested from the token (`C_SignInit`).
    pub signatures: u64,
    /// Decryptions requested from the token (`C_DecryptInit`).
    pub decryptions: u64,
}

/// Receives reports of key trials after the start: when a key has reappeared or was replaced.
pub trait TrialLog: Send + Sync {
    /// Reports that a key is about to be probed, which requests at most `most` uses of it from the token. An error prevents the
    /// trial, and with it the use of the key.
    ///
    /// # Errors
    /// When the trial cannot be recorded.
    fn about_to_try(&self, key: &KeyInfo, most: KeyUses) -> Result<(), KeystoreError>;

    /// Reports that the token was searched again: the keys found, and the number of key uses so far.
    fn found(&self, keys: &[KeyInfo], uses: KeyUses);
}

/// The configured keys of one token, and a pool of sessions to use them. Cheap to clone. Dropping the last clone joins the
/// worker threads, closes the sessions and then finalises the module.
#[derive(Clone)]
pub struct Keystore {
    pool: Arc<pkcs11::Pool>,
    /// The caller on whose behalf the token is used: callers take turns.
    who: Arc<str>,
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
    pub fn open(config: KeystoreConfig) -> Result<Keystore, KeystoreError> {
        Ok(Keystore { pool: Arc::new(pkcs11::Pool::open(config)?), who: Arc::from("service") })
    }

    /// Returns the same keystore, used on behalf of the named caller. Callers take turns at the token, and no single caller can
    /// fill the queue.
    #[must_use]
    pub fn on_behalf(&self, who: &str) -> Keystore {
        Keystore { pool: Arc::clone(&self.pool), who: Arc::from(who) }
    }

    /// Returns the usable keys, sorted by label. Makes no call to the token.
    pub fn keys(&self) -> Vec<KeyInfo> {
        self.pool.keys()
    }

    /// Returns the key with this label. Makes no call to the token.
    ///
    /// # Errors
    /// [`KeystoreError::KeyNotFound`] when no such key is configured, or when it is missing from the token.
    pub fn key(&self, label: &str) -> Result<KeyInfo, KeystoreError> {
        self.pool.key(label)
    }

    /// Returns the key with this label. Searches the token again when the key was missing before.
    ///
    /// # Errors
    /// [`KeystoreError::KeyNotFound`], and errors of the search in the token.
    pub async fn find(&self, label: &str, deadline: Option<Instant>) -> Result<KeyInfo, KeystoreError> {
        self.pool.find_info(&self.who, label, deadline).await
    }

    /// Returns the labels of a purpose's configured keys that are missing from the token. Makes no call to the token.
    pub fn missing(&self, purpose: Purpose) -> Vec<String> {
        self.pool.missing(purpose)
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
        label: &str,
        scheme: SignScheme,
        digest: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Vec<u8>, KeystoreError> {
        self.pool.sign(&self.who, label, scheme, digest, deadline).await
    }

    /// Unwraps a symmetric key: one decryption on the token. PKCS#11 v2.40 §2.1.8 (OAEP), or §2.1.5 (raw RSA) and RFC 8017
    /// §7.1.2 step 3 in this process.
    ///
    /// # Errors
    /// Every defect of the wrapped key is [`KeystoreError::UnwrapFailed`]; other errors are those of [`Keystore::sign`].
    pub async fn unwrap(
        &self,
        label: &str,
        scheme: OaepScheme,
        wrapped: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Zeroizing<Vec<u8>>, KeystoreError> {
        self.pool.unwrap(&self.who, label, scheme, wrapped, deadline).await
    }

    /// Returns the state last observed. Makes no call to the token.
    pub fn health(&self) -> Health {
        self.pool.health()
    }

    /// Checks with the token that the session is alive and that a key can be found. Uses no key. While the token is unavailable,
    /// each call also triggers an attempt to recover it, so calling this every few seconds bounds the recovery time.
    ///
    /// # Errors
    /// [`KeystoreError::Unavailable`], [`KeystoreError::DeadlineExceeded`], or errors of the new login.
    pub async fn check(&self, deadline: Option<Instant>) -> Result<(), KeystoreError> {
        self.pool.check(deadline).await
    }

    /// Returns the number of key uses on the token so far.
    pub fn key_uses(&self) -> KeyUses {
        self.pool.key_uses()
    }

    /// Returns the number of calls that wait for the token.
    pub fn waiting(&self) -> usize {
        self.pool.waiting()
    }

    /// Returns the token's serial number.
    pub fn token_serial(&self) -> &str {
        self.pool.token_serial()
    }

    /// Reports every trial from now on to `log`, before it is made. Only the first log that is set is used.
    pub fn announce_trials_to(&self, log: Arc<dyn TrialLog>) {
        self.pool.announce_trials_to(log);
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

/// Removes the OAEP padding from raw RSA output, as the keystore does for a token without native OAEP. For the benches.
///
/// # Errors
/// [`KeystoreError::UnwrapFailed`], whatever the defect.
#[doc(hidden)]
pub fn unpad_oaep(block: Zeroizing<Vec<u8>>, scheme: OaepScheme) -> Result<Zeroizing<Vec<u8>>, KeystoreError> {
    pkcs11::unpad(block, scheme).map_err(|_| KeystoreError::UnwrapFailed)
}
