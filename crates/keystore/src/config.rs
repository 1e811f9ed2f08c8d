//! Configuration of a keystore: module, token, PIN source, keys, pool sizes. Plain values; the caller reads files and environment.

use std::path::PathBuf;

use super::{Purpose, pin::PinSource};

/// Selects a token of the module. Slot numbers change between starts, so they are not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSelector {
    /// The token's label, at most 32 bytes.
    pub label: String,
    /// The token's serial number, needed only when two tokens have the same label.
    pub serial: Option<String>,
}

impl TokenSelector {
    /// Selects the only token with this label.
    pub fn label(label: impl Into<String>) -> TokenSelector {
        TokenSelector { label: label.into(), serial: None }
    }
}

/// A key in the token that this service uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyConfig {
    /// `CKA_LABEL` of the private key.
    pub label: String,
    /// The key's purpose.
    pub purpose: Purpose,
}

/// A token, and what is needed to log in to it.
#[derive(Debug, Clone)]
pub struct TokenAccess {
    /// The PKCS#11 module (a shared library).
    pub module: PathBuf,
    /// The token of the module.
    pub token: TokenSelector,
    /// The user PIN's source.
    pub pin: PinSource,
    /// File that remembers rejected PINs (salted hashes), so that a restart does not try one again. Its directory must exist and
    /// be writable.
    pub pin_latch: Option<PathBuf>,
}

/// The configuration of a [`Keystore`](super::Keystore).
#[derive(Debug, Clone)]
pub struct KeystoreConfig {
    /// The PKCS#11 module (a shared library).
    pub module: PathBuf,
    /// The token of the module.
    pub token: TokenSelector,
    /// The user PIN's source.
    pub pin: PinSource,
    /// The keys this service uses. All must be in the token.
    pub keys: Vec<KeyConfig>,
    /// Whether raw RSA may be used on a token without native OAEP, with the padding removed in this process.
    pub allow_raw_unwrap: bool,
    /// Number of sessions, each with its own thread. More sessions than the token has cores only add waiting.
    pub sessions: usize,
    /// Number of calls that may wait for a session; one more fails with [`KeystoreError::Overloaded`](super::KeystoreError::Overloaded).
    pub queue: usize,
    /// See [`TokenAccess::pin_latch`].
    pub pin_latch: Option<PathBuf>,
}

impl KeystoreConfig {
    /// Returns a configuration with the defaults: no keys, raw unwrapping not allowed, one session per available core, a queue of
    /// 256 calls, no latch file.
    pub fn new(module: PathBuf, token: TokenSelector, pin: PinSource) -> KeystoreConfig {
        KeystoreConfig {
            module,
            token,
            pin,
            keys: Vec::new(),
            allow_raw_unwrap: false,
            sessions: default_sessions(),
            queue: 256,
            pin_latch: None,
        }
    }

    /// Returns the part that [`admin`](super::admin) needs.
    pub fn access(&self) -> TokenAccess {
        TokenAccess {
            module: self.module.clone(),
            token: self.token.clone(),
            pin: self.pin.clone(),
            pin_latch: self.pin_latch.clone(),
        }
    }
}

/// Returns the number of cores: a software token gains nothing from more sessions.
pub(super) fn default_sessions() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
