//! Configuration of a keystore: module, token, PIN source, keys, pool sizes. Plain values; the caller reads files and environment.

use std::path::PathBuf;

use crate::{KeyUsage, pin::PinSource};

/// A PKCS#11 module, and the text with which it is initialised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleConfig {
    /// The shared library.
    pub path: PathBuf,
    /// Text that the module receives in the reserved field of `C_Initialize`'s arguments (PKCS#11 v2.40 §5.4). NSS softokn needs it:
    /// `configdir='sql:/var/lib/nss' certPrefix='' keyPrefix='' secmod='' flags=`. Most modules take none, and some refuse one.
    pub init_args: Option<String>,
}

impl From<PathBuf> for ModuleConfig {
    /// Returns the configuration of a module that takes no text.
    fn from(path: PathBuf) -> Self {
        Self { path, init_args: None }
    }
}

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
    pub fn label(label: impl Into<String>) -> Self {
        Self { label: label.into(), serial: None }
    }
}

/// A key in the token that this service uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyConfig {
    /// `CKA_LABEL` of the private key.
    pub label: String,
    /// The schemes that the key is meant for.
    pub usage: KeyUsage,
}

/// A token, and what is needed to log in to it.
#[derive(Debug, Clone)]
pub struct TokenAccess {
    /// The PKCS#11 module.
    pub module: ModuleConfig,
    /// The token of the module.
    pub token: TokenSelector,
    /// The user PIN's source.
    pub pin: PinSource,
    /// File that remembers rejected PINs (salted hashes), so that a restart does not try one again. Its directory must exist and
    /// be writable.
    pub pin_latch: Option<PathBuf>,
}

impl TokenAccess {
    /// Returns the access to a token without a latch file.
    pub fn new(module: impl Into<ModuleConfig>, token: TokenSelector, pin: PinSource) -> Self {
        Self { module: module.into(), token, pin, pin_latch: None }
    }
}

/// The configuration of a [`Keystore`](crate::Keystore).
#[derive(Debug, Clone)]
pub struct KeystoreConfig {
    /// The token.
    pub access: TokenAccess,
    /// The keys this service uses. All must be in the token.
    pub keys: Vec<KeyConfig>,
    /// Whether raw RSA may be used on a token without native OAEP, with the padding removed in this process.
    pub allow_raw_unwrap: bool,
    /// Number of sessions, each with its own thread; 0 means one per available core, since a software token gains nothing from
    /// more. More sessions than the token has cores only add waiting.
    pub sessions: usize,
    /// Number of calls that may wait for a session; one more fails with [`KeystoreError::Overloaded`](crate::KeystoreError::Overloaded).
    pub queue: usize,
}

impl KeystoreConfig {
    /// Number of calls that may wait, if nothing else is configured.
    pub const DEFAULT_QUEUE: usize = 256;

    /// Returns a configuration with the defaults: no keys, raw unwrapping not allowed, one session per available core, no more than
    /// [`KeystoreConfig::DEFAULT_QUEUE`] waiting calls.
    pub fn new(access: TokenAccess) -> Self {
        Self { access, keys: Vec::new(), allow_raw_unwrap: false, sessions: 0, queue: Self::DEFAULT_QUEUE }
    }

    /// Returns the number of sessions to open.
    pub(crate) fn session_count(&self) -> usize {
        match self.sessions {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        }
    }
}
