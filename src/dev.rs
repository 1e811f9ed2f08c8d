//! `serve --dev`: creates and runs a development station in one directory: a private software token with its keys, a throw-away PKI, a
//! Unix socket, a loopback port, and `DIR/env`, which a client sources.
//!
//! Unless it has a trust file, the station trusts the keys stated in trains, and warns about this. Not for real data.

mod access;
mod banner;
mod env_file;
mod pki;
#[cfg(test)]
mod tests;
mod token;

use std::{
    collections::BTreeMap,
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

pub use env_file::EnvFile;
use serde::{Deserialize, Serialize};
use stationmaster_keystore::{KeystoreError, pin::PinError};
use stationmaster_system::files::{Directory, input, make_directory};
pub use token::{AUDIT, DevToken};

use crate::{
    config::{
        AccessConfig, AuditConfig, CompatConfig, Config, EngineConfig, FourEyesConfig, KeysConfig, LayoutsConfig, Limits, Listen,
        LogConfig, Rules, RunsConfig, StateConfig, Tcp, TokenConfig, TokensConfig, TrustConfig,
    },
    server::{Addresses, ServerError, bootstrap, lock::Lock, state_directory},
    trust::TrustMode,
};

/// Options of `serve --dev`.
#[derive(Debug, Clone)]
pub struct DevOptions {
    /// The station's id, also its train key's label.
    pub station: String,
    /// The directory for all files.
    pub state: PathBuf,
    /// The train key's size when it is generated, in bits.
    pub bits: u32,
    /// The engine's socket, if it is not the default.
    pub engine: Option<String>,
    /// A directory of OCI layouts, used instead of an engine.
    pub layouts: Option<PathBuf>,
    /// The trust file; without it the keys in trains are trusted.
    pub trust: Option<PathBuf>,
    /// The log.
    pub log: LogConfig,
}

/// The choices of `serve --dev` that a later command must know, in `DIR/dev.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptChoices {
    station: String,
    engine: Option<String>,
    layouts: Option<PathBuf>,
    trust: Option<PathBuf>,
}

/// Name of the file of [`KeptChoices`].
const CHOICES: &str = "dev.json";
/// Maximum size of that file in bytes.
const LONGEST: u64 = 1 << 16;

/// Why a development station cannot be created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevError {
    /// No route can name the station.
    #[error("--station: {message}")]
    StationId {
        /// What is wrong with the id.
        message: String,
        /// The remedy.
        hint: String,
    },
    /// An operation on a file failed.
    #[error("{what}: {source}")]
    Io {
        /// The operation.
        what: String,
        /// The cause.
        source: io::Error,
    },
    /// SoftHSM is not installed.
    #[error("SoftHSM's PKCS#11 module was not found")]
    NoSoftHsm,
    /// The token failed.
    #[error("token: {0}")]
    Token(#[from] KeystoreError),
    /// The token's PIN cannot be read.
    #[error("{0}")]
    Pin(#[from] PinError),
    /// Certificates could not be created.
    #[error("PKI: {0}")]
    Pki(String),
    /// The server failed.
    #[error(transparent)]
    Server(#[from] ServerError),
}

fn trouble(what: &str, path: &Path) -> impl FnOnce(io::Error) -> DevError {
    let what = format!("cannot {what} {}", path.display());
    move |source| DevError::Io { what, source }
}

/// A prepared development station.
#[derive(Debug)]
pub struct DevStation {
    config: Config,
    directory: PathBuf,
    lock: Lock,
}

impl DevStation {
    /// Creates what is missing in the directory, and selects its private token for this process.
    ///
    /// # Errors
    /// When another service uses the directory, or a file cannot be created.
    ///
    /// # Safety
    /// Sets an environment variable: no other thread may run yet.
    #[expect(unsafe_code, reason = "changes the environment, which its caller makes safe")]
    pub unsafe fn prepare(options: DevOptions) -> Result<Self, DevError> {
        Config::check_station_id(&options.station).map_err(|(message, hint)| DevError::StationId { message, hint })?;
        let directory = state_directory(&options.state)?;
        let lock = state_directory::lock_state(&directory)?;
        // SAFETY: the caller ensures it.
        let token = unsafe { DevToken::open(&directory) }?;
        token.ensure(&options.station, options.bits)?;
        access::ensure(&directory.join(access::FILE)).map_err(trouble("write", &directory.join(access::FILE)))?;
        let tls = pki::ensure(&directory.join("pki"), &options.station)?;
        keep(&options, &directory).map_err(trouble("write", &directory.join(CHOICES)))?;
        Ok(Self { config: config(&options, &directory, &token, tls), directory, lock })
    }

    /// Serves until a shutdown is requested; `DIR/env` exists while it serves.
    ///
    /// # Errors
    /// When it cannot start.
    pub async fn serve(self) -> Result<(), DevError> {
        let Self { config, directory, lock } = self;
        let env = EnvFile::new(&directory);
        env.remove();
        let (station, tcp) = (config.station.clone(), config.listen.tcp.clone());
        let (written, mode) = (env.clone(), config.trust.mode);
        let ready = move |addresses: &Addresses| {
            let text = env_file::text(&directory, &station, addresses, tcp.as_ref());
            match written.write(&text) {
                Ok(()) => banner::print(&directory, &station, addresses, mode),
                Err(error) => tracing::error!(%error, "cannot write the env file"),
            }
        };
        let ended = bootstrap::serve(config, lock, ready).await;
        env.remove();
        Ok(ended?)
    }
}

fn keep(options: &DevOptions, directory: &Path) -> io::Result<()> {
    let DevOptions { station, engine, layouts, trust, .. } = options.clone();
    let choices = serde_json::to_vec(&KeptChoices { station, engine, layouts, trust })?;
    Directory::open(directory)?.replace(CHOICES, 0o600, &choices)
}

/// Returns the configuration with which the development station in a directory last started, and selects its token for this process.
///
/// # Errors
/// When there is none, or SoftHSM is missing.
///
/// # Safety
/// Sets an environment variable: no other thread may run yet.
#[expect(unsafe_code, reason = "changes the environment, which its caller makes safe")]
pub unsafe fn config_in(directory: &Path) -> Result<Config, DevError> {
    let file = directory.join(CHOICES);
    let text = input::read(&file, LONGEST).map_err(trouble("read", &file))?;
    let KeptChoices { station, engine, layouts, trust } =
        serde_json::from_slice(&text).map_err(|error| trouble("read", &file)(error.into()))?;
    // SAFETY: the caller ensures it.
    let token = unsafe { DevToken::open(directory) }?;
    let options = DevOptions { station, state: directory.to_owned(), bits: 0, engine, layouts, trust, log: LogConfig::default() };
    Ok(config(&options, directory, &token, pki::files(&directory.join("pki"))))
}

/// Returns the absolute path of the directory, which is created for its owner only if it does not exist. A directory that another user
/// created, for example below `/tmp`, is refused, because it will contain a PIN and keys.
fn state_directory(path: &Path) -> Result<PathBuf, DevError> {
    make_directory(path).map_err(trouble("create", path))?;
    let facts = fs::metadata(path).map_err(trouble("read the metadata of", path))?;
    let own = rustix::process::geteuid().as_raw();
    if facts.uid() != own {
        let text = format!("it belongs to uid {}, and this process is uid {own}: name a directory of this user's", facts.uid());
        let source = io::Error::new(io::ErrorKind::PermissionDenied, text);
        return Err(trouble("use", path)(source));
    }
    path.canonicalize().map_err(trouble("find", path))
}

fn config(options: &DevOptions, directory: &Path, token: &DevToken, tls: pki::Files) -> Config {
    Config {
        station: options.station.clone(),
        key_uris: BTreeMap::new(),
        tokens: TokensConfig::one(TokenConfig {
            pin_file: Some(token.pin_file.clone()),
            // SoftHSM does not support RSA-OAEP with SHA-512.
            allow_raw_unwrap: true,
            ..TokenConfig::new(token.module.clone(), token::LABEL)
        }),
        keys: KeysConfig {
            train: vec![options.station.clone()],
            general: vec![token::general_label(&options.station)],
            raw_use: Vec::new(),
        },
        engine: options
            .engine
            .clone()
            .map_or_else(EngineConfig::default, |socket| EngineConfig { socket, ..EngineConfig::default() }),
        layouts: LayoutsConfig { directory: options.layouts.clone(), group: None },
        state: StateConfig { directory: directory.to_owned(), spool: None },
        runs: RunsConfig { directory: Some(directory.join("runs")) },
        listen: Listen {
            unix: Some(directory.join("api.sock")),
            unix_mode: 0o660,
            unix_group: None,
            reflection: true,
            // Only loopback: there is no option for another address.
            tcp: Some(Tcp {
                address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
                cert: tls.server_cert,
                key: tls.server_key.into(),
                client_ca: tls.ca,
                client_crl: None,
            }),
        },
        four_eyes: FourEyesConfig::default(),
        limits: Limits::default(),
        access: AccessConfig { file: Some(directory.join(access::FILE)) },
        audit: AuditConfig { key: token::AUDIT.into(), ..AuditConfig::default() },
        trust: TrustConfig {
            mode: if options.trust.is_some() { TrustMode::Pinned } else { TrustMode::Embedded },
            file: options.trust.clone(),
        },
        rules: Rules::default(),
        compat: CompatConfig::default(),
        log: options.log.clone(),
    }
}
