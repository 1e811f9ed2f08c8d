//! The tokens of the configuration: a table `[token]`, or several `[[token]]`.

use std::{fmt, path::PathBuf};

use serde::{
    Deserialize, Deserializer,
    de::{
        Error, MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};
use stationmaster_keystore::{Isolation, KeystoreConfig, ModuleConfig, Pkcs11Uri, TokenSelector, softhsm};

/// The hidden command that serves one token on standard input.
pub const WORKER_COMMAND: &str = "token-worker";

/// `[token]` or one of several `[[token]]`: a PKCS#11 token and how to log in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// The PKCS#11 module (a shared library).
    pub module: PathBuf,
    /// Text with which the module is initialised, for modules that need one (NSS).
    pub module_init_args: Option<String>,
    /// The token's label.
    pub label: Option<String>,
    /// The token's serial number, needed when labels are not unique.
    pub serial: Option<String>,
    /// The token's PKCS#11 URI (RFC 7512), instead of label and serial number.
    pub uri: Option<Pkcs11Uri>,
    /// A file whose first line is the user PIN.
    pub pin_file: Option<PathBuf>,
    /// The name of a systemd credential that contains the user PIN.
    pub pin_credential: Option<String>,
    /// The name of an environment variable that contains the user PIN.
    pub pin_env: Option<String>,
    /// Number of sessions, each with its own thread; 0 means one per processor.
    #[serde(default)]
    pub sessions: usize,
    /// Number of requests that may wait for a session.
    #[serde(default = "TokenConfig::default_queue")]
    pub queue: usize,
    /// Seconds that a call in the module may last; after that another worker takes the place of the one that hangs.
    #[serde(default = "TokenConfig::default_call_timeout")]
    pub call_timeout_s: u64,
    /// Seconds that a process of its own may take to open the token, with its self-test.
    #[serde(default = "TokenConfig::default_open_timeout")]
    pub open_timeout_s: u64,
    /// Seconds after which an idle session is used, so that no firewall closes its connection; 0 means never.
    #[serde(default = "TokenConfig::default_keep_alive")]
    pub keep_alive_s: u64,
    /// Among several tokens: whether it is used only while no other token serves a call.
    #[serde(default)]
    pub standby: bool,
    /// Among several tokens: its share of the calls.
    #[serde(default = "TokenConfig::default_weight")]
    pub weight: u32,
    /// Whether the module is loaded into a process of its own.
    #[serde(default)]
    pub isolation: IsolationSetting,
    /// Whether that process is in a sandbox.
    #[serde(default = "TokenConfig::default_sandbox")]
    pub sandbox: bool,
    /// Directories that the module may write to in the sandbox; for SoftHSM, that of its tokens is added.
    #[serde(default)]
    pub writable: Vec<PathBuf>,
    /// Whether a token without native OAEP-SHA-512 may be used through raw RSA.
    #[serde(default)]
    pub allow_raw_unwrap: bool,
    /// Whether a token that refuses PSS with the longest salt may be used through raw RSA.
    #[serde(default)]
    pub allow_raw_sign: bool,
}

/// The source of the PIN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinSetting {
    /// A file.
    File(PathBuf),
    /// A systemd credential.
    Credential(String),
    /// An environment variable.
    Env(String),
    /// No source is set: the terminal is asked.
    Prompt,
}

/// Where the module is loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IsolationSetting {
    /// Into the service.
    #[default]
    None,
    /// Into a process of its own.
    Process,
}

impl TokenConfig {
    /// Returns the configuration of the module's token with this label, with the defaults and without a source of the PIN.
    #[must_use]
    pub fn new(module: PathBuf, label: impl Into<String>) -> Self {
        Self {
            module,
            module_init_args: None,
            label: Some(label.into()),
            serial: None,
            uri: None,
            pin_file: None,
            pin_credential: None,
            pin_env: None,
            sessions: 0,
            queue: Self::default_queue(),
            call_timeout_s: Self::default_call_timeout(),
            open_timeout_s: Self::default_open_timeout(),
            keep_alive_s: Self::default_keep_alive(),
            standby: false,
            weight: Self::default_weight(),
            isolation: IsolationSetting::None,
            sandbox: Self::default_sandbox(),
            writable: Vec::new(),
            allow_raw_unwrap: false,
            allow_raw_sign: false,
        }
    }

    /// Returns the module, and the text with which it is initialised.
    #[must_use]
    pub fn module(&self) -> ModuleConfig {
        ModuleConfig { path: self.module.clone(), init_args: self.module_init_args.clone() }
    }

    /// Returns the process for the module, if it has one.
    #[must_use]
    pub fn isolation(&self) -> Option<Isolation> {
        (self.isolation == IsolationSetting::Process).then(|| Isolation {
            // The running program, even if an upgrade has put another one in its place.
            program: PathBuf::from("/proc/self/exe"),
            arguments: vec![WORKER_COMMAND.into()],
            sandbox: self.sandbox,
            writable: self.writable.iter().cloned().chain(softhsm::token_directory(&self.module)).collect(),
        })
    }

    /// Returns what selects the token.
    #[must_use]
    pub fn selector(&self) -> TokenSelector {
        match &self.uri {
            Some(uri) => TokenSelector::of_uri(uri),
            None => TokenSelector { label: self.label.clone(), serial: self.serial.clone(), ..TokenSelector::default() },
        }
    }

    /// Returns whether a URI names this token: it has a value in common with the configuration, and none that differs.
    pub(super) fn is_named(&self, uri: &Pkcs11Uri) -> bool {
        let (wanted, own) = (TokenSelector::of_uri(uri), self.selector());
        let pairs = [
            (wanted.label, own.label),
            (wanted.serial, own.serial),
            (wanted.manufacturer, own.manufacturer),
            (wanted.model, own.model),
        ];
        pairs.iter().any(|(wanted, own)| wanted.is_some() && wanted == own)
            && pairs.iter().all(|(wanted, own)| wanted.is_none() || own.is_none() || wanted == own)
    }

    /// Returns whether a label, a serial number or a URI names this token.
    fn has_name(&self, name: &str) -> bool {
        let own = self.selector();
        match name.parse() {
            Ok(uri) => self.is_named(&uri),
            Err(_) => own.label.as_deref() == Some(name) || own.serial.as_deref() == Some(name),
        }
    }

    /// Returns whether a key that the configuration names by a URI may be on this token.
    #[must_use]
    pub fn may_have(&self, uri: &Pkcs11Uri) -> bool {
        !uri.names_token() || self.is_named(uri)
    }

    fn default_queue() -> usize {
        KeystoreConfig::DEFAULT_QUEUE
    }

    fn default_call_timeout() -> u64 {
        KeystoreConfig::DEFAULT_CALL_TIMEOUT.as_secs()
    }

    fn default_open_timeout() -> u64 {
        KeystoreConfig::DEFAULT_OPEN_TIMEOUT.as_secs()
    }

    fn default_keep_alive() -> u64 {
        60
    }

    fn default_sandbox() -> bool {
        true
    }

    fn default_weight() -> u32 {
        1
    }

    /// Returns the source of the PIN. At most one is set once the configuration has been checked.
    #[must_use]
    pub fn pin(&self) -> PinSetting {
        if let Some(file) = &self.pin_file {
            PinSetting::File(file.clone())
        } else if let Some(name) = &self.pin_credential {
            PinSetting::Credential(name.clone())
        } else if let Some(name) = &self.pin_env {
            PinSetting::Env(name.clone())
        } else {
            PinSetting::Prompt
        }
    }
}

/// The configured tokens: at least one, in the order of the configuration.
#[derive(Debug, Clone)]
pub struct TokensConfig(Vec<TokenConfig>);

impl TokensConfig {
    /// Returns the configuration of one token.
    #[must_use]
    pub fn one(token: TokenConfig) -> Self {
        Self(vec![token])
    }

    /// Returns all tokens.
    #[must_use]
    pub fn all(&self) -> &[TokenConfig] {
        &self.0
    }

    /// Returns the token that a label, a serial number or a URI names; without a name, the only one.
    ///
    /// # Errors
    /// The reason why there is not one such token, for a user.
    pub fn select(&self, name: Option<&str>) -> Result<&TokenConfig, String> {
        let fitting: Vec<_> = self.0.iter().filter(|token| name.is_none_or(|name| token.has_name(name))).collect();
        let names = || self.0.iter().map(|token| format!("{:?}", token.selector().name())).collect::<Vec<_>>().join(", ");
        match (&fitting[..], name) {
            ([token], _) => Ok(token),
            (_, None) => Err(format!("the configuration names several tokens, {}: choose one with --token", names())),
            ([], Some(name)) => Err(format!("the configuration names no token {name:?}; it names {}", names())),
            (_, Some(name)) => Err(format!("{name:?} names several tokens of the configuration: add the serial number")),
        }
    }
}

/// Distinguishes a table from an array of tables, so that errors name the key and line of a table's own fields.
struct OneOrSeveral;

impl<'de> Visitor<'de> for OneOrSeveral {
    type Value = Vec<TokenConfig>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a table [token], or tables [[token]]")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Ok(vec![TokenConfig::deserialize(MapAccessDeserializer::new(map))?])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        let tokens = Vec::deserialize(SeqAccessDeserializer::new(seq))?;
        if tokens.is_empty() { Err(A::Error::invalid_length(0, &self)) } else { Ok(tokens) }
    }
}

impl<'de> Deserialize<'de> for TokensConfig {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(OneOrSeveral).map(Self)
    }
}
