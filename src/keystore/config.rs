//! What a keystore is opened with. Plain values: reading files and environment is the caller's.

use std::path::PathBuf;

use super::{Purpose, pin::PinSource};

/// Which token of the module is meant. Slot numbers move between starts, so they are not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSelector {
    /// The token's label, at most 32 bytes.
    pub label: String,
    /// The token's serial number, needed only when two tokens carry the label.
    pub serial: Option<String>,
}

impl TokenSelector {
    /// The one token with this label.
    pub fn label(label: impl Into<String>) -> TokenSelector {
        TokenSelector { label: label.into(), serial: None }
    }
}

/// A key of the token that this service uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyConfig {
    /// `CKA_LABEL` of the private key.
    pub label: String,
    /// What it is for.
    pub purpose: Purpose,
}

/// A token and the right to log in to it.
#[derive(Debug, Clone)]
pub struct TokenAccess {
    /// The PKCS#11 module (a shared library).
    pub module: PathBuf,
    /// Which token of the module.
    pub token: TokenSelector,
    /// The user PIN's source.
    pub pin: PinSource,
    /// Where rejected PINs are remembered (salted hashes), so that a restart does not try one again. Its directory must
    /// exist and be writable.
    pub pin_latch: Option<PathBuf>,
}

/// The configuration of a [`Keystore`](super::Keystore).
#[derive(Debug, Clone)]
pub struct KeystoreConfig {
    /// The PKCS#11 module (a shared library).
    pub module: PathBuf,
    /// Which token of the module.
    pub token: TokenSelector,
    /// The user PIN's source.
    pub pin: PinSource,
    /// The keys this service uses. All must be in the token.
    pub keys: Vec<KeyConfig>,
    /// Whether a token without native OAEP may be asked for raw RSA, with the padding undone in this process.
    pub allow_raw_unwrap: bool,
    /// Sessions, each with its own thread. More than the token has cores only adds waiting.
    pub sessions: usize,
    /// Calls that may wait for a session; the next one is told [`KeystoreError::Overloaded`](super::KeystoreError::Overloaded).
    pub queue: usize,
    /// See [`TokenAccess::pin_latch`].
    pub pin_latch: Option<PathBuf>,
}

impl KeystoreConfig {
    /// A configuration with the defaults: no keys yet, raw unwrapping not allowed, one session per available core, a queue of
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

    /// The part that [`admin`](super::admin) needs.
    pub fn access(&self) -> TokenAccess {
        TokenAccess {
            module: self.module.clone(),
            token: self.token.clone(),
            pin: self.pin.clone(),
            pin_latch: self.pin_latch.clone(),
        }
    }
}

/// As many sessions as there are cores: a software token gains nothing from more.
pub(super) fn default_sessions() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
