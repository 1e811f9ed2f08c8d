//! The messages between the service and a worker process. Both are of one build, so there are no versions.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    KeyConfig, KeyDescription, KeyId, KeyUsage, KeyUses, KeystoreConfig, KeystoreError, ModuleConfig, OaepScheme, Pkcs11Uri,
    SignScheme, TokenAccess, TokenSelector,
    pin::{PinError, PinSource, WirePin},
    pkcs11::Needed,
};

/// A message with the number of the call that it belongs to.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Numbered<T> {
    pub(super) number: u64,
    pub(super) body: T,
}

/// From the service.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Open the token; the first message.
    Open(Box<Settings>),
    Sign {
        caller: String,
        id: KeyId,
        scheme: SignScheme,
        /// The digest or message.
        #[serde(with = "const_hex")]
        signed: Vec<u8>,
        deadline: Option<Duration>,
    },
    Unwrap {
        caller: String,
        id: KeyId,
        scheme: OaepScheme,
        #[serde(with = "const_hex")]
        wrapped: Vec<u8>,
        deadline: Option<Duration>,
    },
    Find {
        caller: String,
        label: String,
        deadline: Option<Duration>,
    },
    Check {
        deadline: Option<Duration>,
        /// Keys that tokens show under the configured labels.
        identities: BTreeMap<String, KeyId>,
    },
    /// The caller has left; the call is withdrawn.
    Cancel,
    /// Whether a trial that was announced with this number may be made.
    Trial(Result<(), KeystoreError>),
    /// Close the token and end.
    Close,
}

/// From the worker process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Response {
    /// A signature, or an unwrapped key.
    Bytes {
        #[serde(with = "const_hex")]
        bytes: Vec<u8>,
        uses: KeyUses,
    },
    Key(Box<KeyDescription>, Box<Seen>),
    Done(Box<Seen>),
    Refused(KeystoreError, Box<Seen>),
    /// The token could not be opened.
    NotOpened(KeystoreError),
    /// A key is about to be tried; waits for [`Request::Trial`].
    AboutToTry {
        key: Box<KeyDescription>,
        most: KeyUses,
    },
    /// The token was searched again.
    Found {
        keys: Vec<KeyDescription>,
        uses: KeyUses,
    },
}

/// What the worker process knows of its token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) uri: Pkcs11Uri,
    pub(crate) ready: Result<(), KeystoreError>,
    pub(crate) keys: Vec<KeyDescription>,
    pub(crate) last_shown: Vec<KeyId>,
    pub(crate) uses: KeyUses,
    pub(crate) hung: usize,
}

/// The configuration of the token.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Settings {
    module: PathBuf,
    init_args: Option<String>,
    token: TokenSelector,
    pin: WirePin,
    pin_latch: Option<PathBuf>,
    keys: Vec<Key>,
    allow_raw_unwrap: bool,
    allow_raw_sign: bool,
    sessions: usize,
    queue: usize,
    call_timeout: Duration,
    keep_alive: Option<Duration>,
    pub(super) needed: Needed,
    /// Whether trials are reported from the beginning.
    pub(super) trials: bool,
    /// Keys that tokens have shown under the configured labels.
    pub(super) identities: BTreeMap<String, KeyId>,
    /// Directories that the module may write to; `None` for no sandbox.
    pub(super) writable: Option<Vec<PathBuf>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Key {
    label: String,
    id: Option<Vec<u8>>,
    sign: Vec<SignScheme>,
    unwrap: Vec<OaepScheme>,
}

impl Settings {
    pub(super) fn new(
        config: &KeystoreConfig,
        writable: Option<Vec<PathBuf>>,
        needed: Needed,
        trials: bool,
        identities: BTreeMap<String, KeyId>,
    ) -> Self {
        let key = |key: &KeyConfig| Key {
            label: key.label.clone(),
            id: key.id.clone(),
            sign: key.usage.sign.to_vec(),
            unwrap: key.usage.unwrap.to_vec(),
        };
        Self {
            module: config.access.module.path.clone(),
            init_args: config.access.module.init_args.clone(),
            token: config.access.token.clone(),
            pin: config.access.pin.to_wire(),
            pin_latch: config.access.pin_latch.clone(),
            keys: config.keys.iter().map(key).collect(),
            allow_raw_unwrap: config.allow_raw_unwrap,
            allow_raw_sign: config.allow_raw_sign,
            sessions: config.sessions,
            queue: config.queue,
            call_timeout: config.call_timeout,
            keep_alive: config.keep_alive,
            needed,
            trials,
            identities,
            writable,
        }
    }

    /// Returns the configuration. Called once in a process: the schemes of its keys stay in memory.
    pub(super) fn config(self) -> Result<KeystoreConfig, PinError> {
        let access = TokenAccess {
            module: ModuleConfig { path: self.module, init_args: self.init_args },
            token: self.token,
            pin: PinSource::from_wire(self.pin)?,
            pin_latch: self.pin_latch,
        };
        let key = |key: Key| KeyConfig {
            label: key.label,
            id: key.id,
            usage: KeyUsage { sign: key.sign.leak(), unwrap: key.unwrap.leak() },
        };
        Ok(KeystoreConfig {
            keys: self.keys.into_iter().map(key).collect(),
            allow_raw_unwrap: self.allow_raw_unwrap,
            allow_raw_sign: self.allow_raw_sign,
            sessions: self.sessions,
            queue: self.queue,
            call_timeout: self.call_timeout,
            keep_alive: self.keep_alive,
            ..KeystoreConfig::new(access)
        })
    }
}
