//! Why the service cannot start, or had to stop.

use std::io;

use tonic::transport;

use crate::{
    audit::AuditError,
    keystore::{KeystoreError, pin::PinError},
    ledger::LedgerError,
    state::StateError,
};

/// Why the service cannot start, or had to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// A socket or file cannot be had. The operator's to mend.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Another service holds it.
    #[error("{what} is held by another service{}", holder.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Held {
        /// What it holds.
        what: String,
        /// Its process id, where it is known.
        holder: Option<u32>,
    },
    /// Certificates or keys cannot be used. The operator's to mend.
    #[error("TLS: {0}")]
    Tls(TlsFault),
    /// The token cannot be used.
    #[error("token: {0}")]
    Keystore(#[from] KeystoreError),
    /// There is no PIN. The operator's to mend.
    #[error("{0}")]
    Pin(#[from] PinError),
    /// The audit cannot be written, or is not what was written. An officer's to look at.
    #[error("audit: {0}")]
    Audit(#[from] AuditError),
    /// The ledger cannot be used. The operator's to mend.
    #[error("{0}")]
    Ledger(#[from] LedgerError),
    /// A configured key cannot do what it is for. The operator's to mend.
    #[error("{0}")]
    Unfit(String),
    /// The state directory cannot be used as it is. The operator's to mend, or an officer's to decide.
    #[error("{0}")]
    State(#[from] StateError),
    /// Another part of the station could not be set up.
    #[error("{0}")]
    Setup(String),
    /// The transport failed.
    #[error("transport: {0}")]
    Transport(#[from] transport::Error),
}

/// Why a TLS file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct TlsFault {
    /// The file, and what is wrong with it.
    pub what: String,
    /// The kind of error that the system has for it; of what is wrong in the file, [`io::ErrorKind::InvalidData`].
    pub kind: io::ErrorKind,
    /// What to do about it, where the file tells.
    pub hint: Option<String>,
}

impl TlsFault {
    /// On one line, with what to do about it.
    #[must_use]
    pub fn in_full(&self) -> String {
        self.hint.as_ref().map_or_else(|| self.what.clone(), |hint| format!("{}: {hint}", self.what))
    }
}

impl ServerError {
    /// An I/O error with what was tried.
    pub fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }
}
