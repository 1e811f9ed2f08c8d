//! Configuration of a keystore: module, token, PIN source, keys, pool sizes. Plain values; the caller reads files and environment.

use std::{ffi::OsString, fmt, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{KeyUsage, Pkcs11Uri, pin::PinSource};

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

/// Selects a token of the module. An absent value matches everything. Slot numbers change between starts, so they are not used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenSelector {
    /// The token's label, at most 32 bytes.
    pub label: Option<String>,
    /// The token's serial number, needed only when two tokens have the same label.
    pub serial: Option<String>,
    /// The token's manufacturer.
    pub manufacturer: Option<String>,
    /// The token's model.
    pub model: Option<String>,
}

impl TokenSelector {
    /// Selects the only token with this label.
    pub fn label(label: impl Into<String>) -> Self {
        Self { label: Some(label.into()), ..Self::default() }
    }

    /// Selects the token that a URI names.
    #[must_use]
    pub fn of_uri(uri: &Pkcs11Uri) -> Self {
        let Pkcs11Uri { token, serial, manufacturer, model, .. } = uri.clone();
        Self { label: token, serial, manufacturer, model }
    }

    /// Returns the URI of the selected token.
    #[must_use]
    pub fn uri(&self) -> Pkcs11Uri {
        let Self { label, serial, manufacturer, model } = self.clone();
        Pkcs11Uri { token: label, serial, manufacturer, model, ..Pkcs11Uri::default() }
    }

    /// Returns a short name: the label, else the serial number.
    #[must_use]
    pub fn name(&self) -> &str {
        self.label.as_deref().or(self.serial.as_deref()).unwrap_or("any")
    }
}

impl fmt::Display for TokenSelector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("labelled", &self.label),
            ("with serial number", &self.serial),
            ("by manufacturer", &self.manufacturer),
            ("of model", &self.model),
        ];
        let mut between = "";
        for (what, value) in parts.into_iter().filter_map(|(what, value)| Some((what, value.as_ref()?))) {
            write!(out, "{between}{what} {value:?}")?;
            between = " ";
        }
        Ok(())
    }
}

/// A key in the token that this service uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyConfig {
    /// `CKA_LABEL` of the private key.
    pub label: String,
    /// `CKA_ID` of the private key, which distinguishes keys of one label.
    pub id: Option<Vec<u8>>,
    /// The schemes that the key is meant for.
    pub usage: KeyUsage,
}

impl KeyConfig {
    /// Returns the only key with this label.
    pub fn new(label: impl Into<String>, usage: KeyUsage) -> Self {
        Self { label: label.into(), id: None, usage }
    }
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

/// A process of its own for a token's module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolation {
    /// The program, which calls [`run_worker`](crate::run_worker).
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Whether the process may only write to `writable`, not start programs, and not look into other processes.
    pub sandbox: bool,
    /// Directories that the module may write to, in addition to `/dev` and the directory of the latch file.
    pub writable: Vec<PathBuf>,
}

impl Isolation {
    /// Returns the directories that the process may write to; `None` for all.
    pub(crate) fn writable(&self, access: &TokenAccess) -> Option<Vec<PathBuf>> {
        let latch = access.pin_latch.as_ref().and_then(|file| file.parent()).map(PathBuf::from);
        self.sandbox.then(|| self.writable.iter().cloned().chain(latch).chain([PathBuf::from("/dev")]).collect())
    }
}

/// One token of a [`Keystore`](crate::Keystore), and the keys that are used in it.
#[derive(Debug, Clone)]
pub struct KeystoreConfig {
    /// The token.
    pub access: TokenAccess,
    /// The keys this service uses. All must be in the token.
    pub keys: Vec<KeyConfig>,
    /// Whether raw RSA may be used on a token without native OAEP, with the padding removed in this process.
    pub allow_raw_unwrap: bool,
    /// Whether PSS may be encoded in this process and signed with raw RSA, with a key whose token refuses the scheme's salt.
    pub allow_raw_sign: bool,
    /// Number of sessions, each with its own thread; 0 means one per available core, since a software token gains nothing from
    /// more. More sessions than the token has cores only add waiting.
    pub sessions: usize,
    /// Number of calls that may wait for a session; one more fails with [`KeystoreError::Overloaded`](crate::KeystoreError::Overloaded).
    pub queue: usize,
    /// How long a call in the module may last. After that its caller gets [`KeystoreError::Unavailable`](crate::KeystoreError::Unavailable),
    /// and another worker takes the place of the one that hangs.
    pub call_timeout: Duration,
    /// How long a session may be idle before it is used, so that no firewall closes its connection; `None` for never.
    pub keep_alive: Option<Duration>,
    /// Among several tokens: whether this one is used only while no other that has the key serves the call.
    pub standby: bool,
    /// Whether the module is loaded into a process of its own, and how.
    pub isolation: Option<Isolation>,
    /// How long a process of its own may take to open the token, with its self-test.
    pub open_timeout: Duration,
    /// Among several tokens: this one's share of the calls, relative to the others; at least 1.
    pub weight: u32,
}

impl KeystoreConfig {
    /// Number of calls that may wait, if nothing else is configured.
    pub const DEFAULT_QUEUE: usize = 256;
    /// How long a call in the module may last, if nothing else is configured. A signature takes milliseconds, over a network some more.
    pub const DEFAULT_CALL_TIMEOUT: Duration = Duration::from_secs(15);

    /// How long a process of its own may take to open the token, if nothing else is configured.
    pub const DEFAULT_OPEN_TIMEOUT: Duration = Duration::from_secs(60);

    /// Returns a configuration with the defaults: no keys, no raw RSA allowed, one session per available core, no more than
    /// [`KeystoreConfig::DEFAULT_QUEUE`] waiting calls, [`KeystoreConfig::DEFAULT_CALL_TIMEOUT`], no keep-alive.
    pub fn new(access: TokenAccess) -> Self {
        Self {
            access,
            keys: Vec::new(),
            allow_raw_unwrap: false,
            allow_raw_sign: false,
            sessions: 0,
            queue: Self::DEFAULT_QUEUE,
            call_timeout: Self::DEFAULT_CALL_TIMEOUT,
            keep_alive: None,
            standby: false,
            isolation: None,
            open_timeout: Self::DEFAULT_OPEN_TIMEOUT,
            weight: 1,
        }
    }

    /// Returns the number of sessions to open.
    pub(crate) fn session_count(&self) -> usize {
        match self.sessions {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        }
    }
}
