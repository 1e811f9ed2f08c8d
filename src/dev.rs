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
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

pub use env_file::EnvFile;
use stationmaster_keystore::{KeystoreError, pin::PinError};
use stationmaster_system::files::make_directory;
pub use token::{DevToken, GENERAL_BITS};

use crate::{
    config::{Access, Audit, Compat, Config, Engine, Keys, Layouts, Limits, Listen, Log, Rules, Runs, State, Tcp, Token, Trust},
    server::{Addresses, ServerError, bootstrap, lock::Lock},
    trust::TrustMode,
};

/// What `serve --dev` was asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// The station's id, also its train key's label.
    pub station: String,
    /// The directory that holds everything.
    pub state: PathBuf,
    /// The train key's size, when it is made.
    pub bits: u32,
    /// Another engine socket than the default.
    pub engine: Option<String>,
    /// A directory of OCI layouts, in place of an engine.
    pub layouts: Option<PathBuf>,
    /// Believe only keys in this trust file, in place of those in trains.
    pub trust: Option<PathBuf>,
    /// The log.
    pub log: Log,
}

/// Why a development station cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevError {
    /// No route can name the station.
    #[error("--station: {message}")]
    StationId {
        /// What is wrong with the id.
        message: String,
        /// What to do.
        hint: String,
    },
    /// A file cannot be had.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// No software token on this machine.
    #[error("SoftHSM's PKCS#11 module was not found")]
    NoSoftHsm,
    /// The token failed.
    #[error("token: {0}")]
    Token(#[from] KeystoreError),
    /// The token's PIN cannot be read.
    #[error("{0}")]
    Pin(#[from] PinError),
    /// Certificates could not be made.
    #[error("PKI: {0}")]
    Pki(String),
    /// The server's part.
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
    /// Makes what is missing in the directory and points the process at its private token.
    ///
    /// # Errors
    /// When another service holds the directory, or something cannot be made.
    ///
    /// # Safety
    /// Sets an environment variable: no other thread may run yet.
    #[expect(unsafe_code, reason = "changes the environment, which its caller makes safe")]
    pub unsafe fn prepare(options: Options) -> Result<Self, DevError> {
        Config::check_station_id(&options.station).map_err(|(message, hint)| DevError::StationId { message, hint })?;
        let directory = state_directory(&options.state)?;
        let lock = bootstrap::lock_state(&directory)?;
        // SAFETY: the caller's promise is ours.
        let token = unsafe { DevToken::open(&directory) }?;
        token.ensure(&options.station, options.bits)?;
        access::ensure(&directory.join(access::FILE)).map_err(trouble("write", &directory.join(access::FILE)))?;
        let tls = pki::ensure(&directory.join("pki"), &options.station)?;
        Ok(Self { config: config(&options, &directory, &token, tls), directory, lock })
    }

    /// Serves until told to end; `DIR/env` is there while it serves.
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

/// The directory, absolute, made when missing, for its owner only; [`assemble::lock_state`] closes one that was there. One that another user has made beforehand, below `/tmp` say, is not
/// taken: a PIN and keys go there.
fn state_directory(path: &Path) -> Result<PathBuf, DevError> {
    make_directory(path).map_err(trouble("make", path))?;
    let facts = fs::metadata(path).map_err(trouble("look at", path))?;
    if facts.uid() != rustix::process::geteuid().as_raw() {
        let source = io::Error::new(io::ErrorKind::PermissionDenied, format!("it belongs to uid {}", facts.uid()));
        return Err(trouble("use", path)(source));
    }
    path.canonicalize().map_err(trouble("find", path))
}

fn config(options: &Options, directory: &Path, token: &DevToken, tls: pki::Files) -> Config {
    Config {
        station: options.station.clone(),
        token: Token {
            module: token.module.clone(),
            label: token::LABEL.into(),
            serial: None,
            pin_file: Some(token.pin_file.clone()),
            pin_credential: None,
            pin_env: None,
            sessions: 0,
            queue: 256,
            // SoftHSM cannot do RSA-OAEP with SHA-512 itself.
            allow_raw_unwrap: true,
        },
        keys: Keys {
            train: vec![options.station.clone()],
            general: vec![token::general_label(&options.station)],
            raw_use: Vec::new(),
        },
        engine: options.engine.clone().map_or_else(Engine::default, |socket| Engine { socket, ..Engine::default() }),
        layouts: Layouts { directory: options.layouts.clone(), group: None },
        state: State { directory: directory.to_owned(), spool: None },
        runs: Runs { directory: Some(directory.join("runs")) },
        listen: Listen {
            unix: Some(directory.join("api.sock")),
            unix_mode: 0o660,
            unix_group: None,
            reflection: true,
            // Loopback, and nothing else, ever: there is no option for it.
            tcp: Some(Tcp {
                address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
                cert: tls.server_cert,
                key: tls.server_key,
                client_ca: tls.ca,
                client_crl: None,
            }),
        },
        limits: Limits::default(),
        access: Access { file: Some(directory.join(access::FILE)) },
        audit: Audit { key: token::AUDIT.into(), ..Audit::default() },
        trust: Trust {
            mode: if options.trust.is_some() { TrustMode::Pinned } else { TrustMode::Embedded },
            file: options.trust.clone(),
        },
        rules: Rules::default(),
        compat: Compat::default(),
        log: options.log.clone(),
    }
}
