//! The service's configuration: strict TOML, with every key documented in `deploy/stationmaster.toml`.

mod audit;
mod check;
mod engine;
mod four_eyes;
mod key_names;
mod rules;
mod sections;
#[cfg(test)]
mod tests;
mod tls_key;
mod token;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

pub use audit::{AuditConfig, MirrorConfig};
pub use engine::{EngineConfig, PartialLoadSetting};
pub use four_eyes::{FourEyesConfig, GuardedAct};
pub use rules::{Rules, TrustConfig, Unlisted};
pub use sections::{
    AccessConfig, CompatConfig, KeysConfig, LayoutsConfig, Limits, Listen, LogConfig, LogFormat, RunsConfig, StateConfig, Tcp,
};
use serde::Deserialize;
use stationmaster_keystore::Pkcs11Uri;
use stationmaster_system::files::input;
pub use tls_key::TlsKeySetting;
pub use token::{IsolationSetting, PinSetting, TokenConfig, TokensConfig, WORKER_COMMAND};

/// Maximum size of a configuration, in bytes.
const LONGEST: u64 = 1 << 20;

/// The configuration that `stationmaster serve --config FILE` reads.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// This station's id, as trains' routes name it.
    pub station: String,
    /// The PKCS#11 tokens.
    #[serde(rename = "token")]
    pub tokens: TokensConfig,
    /// The keys served.
    #[serde(default)]
    pub keys: KeysConfig,
    /// The container engine.
    #[serde(default)]
    pub engine: EngineConfig,
    /// Images without an engine.
    #[serde(default)]
    pub layouts: LayoutsConfig,
    /// The service's persistent state.
    pub state: StateConfig,
    /// How trains are opened.
    #[serde(default)]
    pub runs: RunsConfig,
    /// Where the service listens.
    pub listen: Listen,
    /// Limits of the service.
    #[serde(default)]
    pub limits: Limits,
    /// Authorisation of callers.
    #[serde(default)]
    pub access: AccessConfig,
    /// The audit log.
    #[serde(default)]
    pub audit: AuditConfig,
    /// Trusted keys.
    #[serde(default)]
    pub trust: TrustConfig,
    /// Acts of administrators that need a second officer.
    #[serde(default)]
    pub four_eyes: FourEyesConfig,
    /// Rules for trains.
    #[serde(default)]
    pub rules: Rules,
    /// Compatibility with older software, off unless named.
    #[serde(default)]
    pub compat: CompatConfig,
    /// The log.
    #[serde(default)]
    pub log: LogConfig,
    /// The URIs of keys that are named by one, by label.
    #[serde(skip)]
    pub key_uris: BTreeMap<String, Pkcs11Uri>,
}

/// Why a configuration cannot be used. The operator must correct it; a retry does not help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is not TOML, has an unknown key, lacks one, or has a value of the wrong type.
    #[error("{}:{line}: {message}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// A value has the right type but is not usable.
    #[error("{}:{line}: {key}: {message}", file.display())]
    Value {
        /// The file.
        file: PathBuf,
        /// The line of the key, or of its section, or 1.
        line: usize,
        /// The key, with its section.
        key: String,
        /// What is wrong with it.
        message: String,
        /// The remedy.
        hint: String,
    },
}

impl ConfigError {
    /// Returns a remedy.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Read { source, .. } if source.get_ref().is_some_and(|unfit| unfit.is::<input::InputError>()) => {
                "name a configuration with --config; deploy/stationmaster.toml is an example".into()
            }
            Self::Read { .. } => "name a readable file with --config; deploy/stationmaster.toml is an example".into(),
            Self::Syntax { .. } => "deploy/stationmaster.toml shows every key with its meaning".into(),
            Self::Value { hint, .. } => hint.clone(),
        }
    }
}

impl Config {
    /// Returns the path of the access file.
    #[must_use]
    pub fn access_file(&self) -> PathBuf {
        // A configuration read from a file always names it; without it all access is denied.
        self.access.file.clone().unwrap_or_else(|| self.state.directory.join("access.toml"))
    }

    /// Returns the directory of the audit logs.
    #[must_use]
    pub fn audit_directory(&self) -> PathBuf {
        self.audit.directory.clone().unwrap_or_else(|| self.state.directory.join("audit"))
    }

    /// Returns the URI of the service's TLS key, if it is in a token.
    #[must_use]
    pub fn tls_key(&self) -> Option<&Pkcs11Uri> {
        self.listen.tcp.as_ref()?.key.uri()
    }

    /// Checks a station's id as [`Config::parse`] does.
    ///
    /// # Errors
    /// When no route can name it: the cause, and the remedy.
    pub fn check_station_id(id: &str) -> Result<(), (String, String)> {
        check::station_id(id).map_err(|flaw| (flaw.message, flaw.hint))
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it cannot be read or used.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = input::read_text(file, LONGEST).map_err(|source| ConfigError::Read { file: file.into(), source })?;
        Self::parse(&text, file)
    }

    /// Parses and checks a text; `file` is named in errors.
    ///
    /// # Errors
    /// When it is not usable.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text).map_err(|error| ConfigError::Syntax {
            file: file.into(),
            line: error.span().map_or(1, |span| line_at(text, span.start)),
            message: match error.span().and_then(|span| key_at(text, span.start)) {
                Some(key) => format!("{key}: {}", error.message()),
                None => error.message().to_owned(),
            },
        })?;
        if config.keys.train.is_empty() {
            config.keys.train = vec![config.station.clone()];
        }
        if config.trust.file.is_none() {
            // In the configuration's directory, where an administrator searches for it.
            config.trust.file = std::path::absolute(file).ok().map(|file| file.with_file_name("trust.toml"));
        }
        if config.access.file.is_none() {
            config.access.file = std::path::absolute(file).ok().map(|file| file.with_file_name("access.toml"));
        }
        let checked = key_names::take_uris(&mut config).and_then(|uris| {
            config.key_uris = uris;
            check::check(&config)
        });
        checked.map_err(|flaw| ConfigError::Value {
            file: file.into(),
            line: line_of(text, &flaw.key),
            key: flaw.key,
            message: flaw.message,
            hint: flaw.hint,
        })?;
        Ok(config)
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|&&byte| byte == b'\n').count() + 1
}

/// Returns the key, with its section, whose value is at an offset.
fn key_at(text: &str, offset: usize) -> Option<String> {
    let line = line_at(text, offset) - 1;
    let begin = text[..offset].rfind('\n').map_or(0, |end| end + 1);
    let (key, _) = text[begin..offset].split_once('=')?;
    let section = |line: &str| Some(line.trim().strip_prefix('[')?.split(']').next()?.trim().to_owned());
    match text.lines().take(line).filter_map(section).last() {
        Some(section) => Some(format!("{section}.{}", key.trim())),
        None => Some(key.trim().to_owned()),
    }
}

/// Returns the line of `section.key`, else of the section, else the first line: a hint for people, found by reading lines.
fn line_of(text: &str, dotted: &str) -> usize {
    let (section, key) = dotted.rsplit_once('.').unwrap_or(("", dotted));
    let mut current = String::new();
    let mut section_line = 1;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            name.trim().clone_into(&mut current);
            if current == section || current == dotted {
                section_line = index + 1;
            }
        } else if current == section && line.split('=').next().is_some_and(|name| name.trim() == key) {
            return index + 1;
        }
    }
    section_line
}
