//! Who holds the private keys, and for what purpose.
//!
//! Keys live in a PKCS#11 token and never leave it. [`Keystore`] finds the configured ones, learns by trial what the token can
//! do with each, and signs and unwraps with them through a bounded pool of sessions. What a key *may* be used for is not
//! decided here: the service above knows its callers.
//!
//! What is said here is said of a station's keys. Creators of trains may have theirs in a file: [`software`].
//!
//! Only `keystore/pkcs11` names the PKCS#11 library; raw RSA output never leaves it.

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

/// What a private key is for. A key has one purpose, given by the configuration, not by the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// The station's key on a train's route: used by the protocol only.
    Train,
    /// A key for everything else.
    General,
    /// The key that signs the audit's checkpoints, and nothing else.
    Audit,
}

impl Purpose {
    /// Its name: `train`, `general`, `audit`.
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
    /// The token does all of it.
    Native,
    /// The token does raw RSA (`CKM_RSA_X_509`), the padding is undone in constant time in this process.
    Raw,
    /// It cannot be done, or the configuration does not allow how.
    No,
}

impl Capability {
    /// The name of the capability in the gRPC contract: `native`, `raw` or `no`.
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
    /// `CKA_ID` of the private half.
    pub id: Vec<u8>,
    /// What the configuration says the key is for.
    pub purpose: Purpose,
    /// Size of the modulus in bits.
    pub bits: u32,
    /// SubjectPublicKeyInfo, DER.
    pub spki_der: Vec<u8>,
    /// `CKA_SENSITIVE`: the private value cannot be read in plain text.
    pub sensitive: bool,
    /// `CKA_EXTRACTABLE`: the private key can be taken out, wrapped.
    pub extractable: bool,
    /// `CKA_NEVER_EXTRACTABLE`: it could not be taken out at any time since it was made.
    pub never_extractable: bool,
    /// `CKA_LOCAL`: generated in this token, not imported.
    pub generated_in_token: bool,
    /// Scheme name (`RSA_OAEP_SHA512`, …) to how it is carried out; empty when the key has not been tried.
    pub capabilities: BTreeMap<&'static str, Capability>,
}

/// Whether the token can be used now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Logged in, keys found.
    Ready,
    /// Away; coming back is tried in the background.
    Down {
        /// When it went.
        since: Instant,
        /// What was noticed, without secrets.
        reason: &'static str,
    },
}

/// How often keys of this keystore were used on the token since it was opened, trials at the start included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyUses {
    /// Signatures asked of the token (`C_SignInit`).
    pub signatures: u64,
    /// Decryptions asked of the token (`C_DecryptInit`).
    pub decryptions: u64,
}

/// Told of trials of keys that are made after the start: when a key came back, or another is in its place.
pub trait TrialLog: Send + Sync {
    /// A key is about to be tried out, which asks the token for at most so many uses of it. An error keeps the key from being
    /// tried, and with it from being used.
    ///
    /// # Errors
    /// That it cannot be recorded.
    fn about_to_try(&self, key: &KeyInfo, most: KeyUses) -> Result<(), KeystoreError>;

    /// The token was looked through again: the keys that it shows, and how often keys were used so far.
    fn found(&self, keys: &[KeyInfo], uses: KeyUses);
}

/// The configured keys of one token, and a pool of sessions to use them. Cheap to clone; the last clone to go joins the
/// worker threads, closes the sessions and then finalises the module.
#[derive(Clone)]
pub struct Keystore {
    pool: Arc<pkcs11::Pool>,
    /// On whose behalf: callers take turns at the token.
    who: Arc<str>,
}

impl std::fmt::Debug for Keystore {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let labels: Vec<_> = self.keys().into_iter().map(|key| key.label).collect();
        out.debug_struct("Keystore").field("keys", &labels).finish_non_exhaustive()
    }
}

impl Keystore {
    /// Loads the module, logs in, finds every configured key and tries what the token can do with it. Blocks (up to some
    /// hundred milliseconds per key); call it before the runtime starts or on a blocking thread.
    ///
    /// # Errors
    /// Those of the configuration ([`KeystoreError::TokenNotFound`], [`KeystoreError::KeyNotFound`],
    /// [`KeystoreError::KeyAmbiguous`], …), of the PIN ([`KeystoreError::PinRejected`], [`KeystoreError::PinLatched`],
    /// [`KeystoreError::PinAtRisk`]), and [`KeystoreError::Unavailable`] when the token is not there.
    pub fn open(config: KeystoreConfig) -> Result<Keystore, KeystoreError> {
        Ok(Keystore { pool: Arc::new(pkcs11::Pool::open(config)?), who: Arc::from("service") })
    }

    /// The same keystore, used on behalf of a caller of that name. Callers take turns at the token, and none takes the last place
    /// of its queue.
    #[must_use]
    pub fn on_behalf(&self, who: &str) -> Keystore {
        Keystore { pool: Arc::clone(&self.pool), who: Arc::from(who) }
    }

    /// The usable keys, sorted by label. Makes no call to the token.
    pub fn keys(&self) -> Vec<KeyInfo> {
        self.pool.keys()
    }

    /// One key by its label. Makes no call to the token.
    ///
    /// # Errors
    /// [`KeystoreError::KeyNotFound`] when no such key is configured, or it has gone from the token.
    pub fn key(&self, label: &str) -> Result<KeyInfo, KeystoreError> {
        self.pool.key(label)
    }

    /// One key by its label. One that the token did not show before is looked for there again.
    ///
    /// # Errors
    /// [`KeystoreError::KeyNotFound`], and what the token answers when it is asked.
    pub async fn find(&self, label: &str, deadline: Option<Instant>) -> Result<KeyInfo, KeystoreError> {
        self.pool.find_info(&self.who, label, deadline).await
    }

    /// Labels of the configured keys of a purpose that the token does not show now. Makes no call to the token.
    pub fn missing(&self, purpose: Purpose) -> Vec<String> {
        self.pool.missing(purpose)
    }

    /// Signs a digest: one signature on the token, verified with the public key (exact salt length for PSS) before it is
    /// returned. PKCS#11 v2.40 §2.1.6 (v1.5) and §2.1.10 (PSS), the caller hashes. As long as the modulus.
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
    /// Whatever is wrong with the wrapped key is [`KeystoreError::UnwrapFailed`]; otherwise as [`Keystore::sign`].
    pub async fn unwrap(
        &self,
        label: &str,
        scheme: OaepScheme,
        wrapped: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Zeroizing<Vec<u8>>, KeystoreError> {
        self.pool.unwrap(&self.who, label, scheme, wrapped, deadline).await
    }

    /// The state as last noticed. Makes no call to the token.
    pub fn health(&self) -> Health {
        self.pool.health()
    }

    /// Asks the token: the session must be alive and one key be found. Uses no key. While the token is away each call also
    /// hurries the attempt to get it back, so calling it every few seconds bounds the recovery time.
    ///
    /// # Errors
    /// [`KeystoreError::Unavailable`], [`KeystoreError::DeadlineExceeded`], or what the new login met.
    pub async fn check(&self, deadline: Option<Instant>) -> Result<(), KeystoreError> {
        self.pool.check(deadline).await
    }

    /// How often the keys were used on the token so far.
    pub fn key_uses(&self) -> KeyUses {
        self.pool.key_uses()
    }

    /// Calls that wait for the token.
    pub fn waiting(&self) -> usize {
        self.pool.waiting()
    }

    /// The token's serial number.
    pub fn token_serial(&self) -> &str {
        self.pool.token_serial()
    }

    /// Has every trial from now on told to `log`, before it is made. The first to be named stays.
    pub fn announce_trials_to(&self, log: Arc<dyn TrialLog>) {
        self.pool.announce_trials_to(log);
    }

    /// Has all calls that wait for the token answered with [`KeystoreError::Unavailable`], and all that come: for the end, where the
    /// token does not answer. What is under way in the token stays so.
    pub fn give_up(&self) {
        self.pool.give_up();
    }

    /// Stops taking calls, joins the workers and closes the sessions. Blocks for the calls that run, for some seconds at most. The
    /// module is finalised when the last clone is dropped; a process should not exit before this has returned (a token library may
    /// crash when the process ends under a running call).
    ///
    /// Answers whether all have ended. Where a call hangs in the module, it and the module are left as they are: only ending
    /// the process without its exit handlers is safe then.
    #[must_use]
    pub fn close(&self) -> bool {
        self.pool.close()
    }
}

/// Undoes OAEP on what raw RSA answered, as the keystore does for a token that cannot. For the benches.
///
/// # Errors
/// [`KeystoreError::UnwrapFailed`], whatever is wrong.
#[doc(hidden)]
pub fn unpad_oaep(block: Zeroizing<Vec<u8>>, scheme: OaepScheme) -> Result<Zeroizing<Vec<u8>>, KeystoreError> {
    pkcs11::unpad(block, scheme).map_err(|_| KeystoreError::UnwrapFailed)
}
