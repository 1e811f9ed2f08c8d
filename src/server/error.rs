//! Errors that prevent the service from starting, or stop it.

use std::io;

use stationmaster_keystore::{KeystoreError, pin::PinError};
use tonic::transport;

use crate::{audit::AuditError, ledger::LedgerError, state::StateError};

/// Reason why the service cannot start, or had to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// A socket or file is not available. The administrator's responsibility.
    #[error("{what}: {source}")]
    Io {
        /// The attempted operation.
        what: String,
        /// The cause.
        source: io::Error,
    },
    /// Another service holds the lock.
    #[error("{what} is held by another service{}", holder.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Held {
        /// The locked resource.
        what: String,
        /// The holder's process id, if it is known.
        holder: Option<u32>,
    },
    /// Certificates or keys cannot be used. The administrator's responsibility.
    #[error("TLS: {0}")]
    Tls(TlsFault),
    /// The token cannot be used.
    #[error("token: {0}")]
    Keystore(#[from] KeystoreError),
    /// No PIN is available. The administrator's responsibility.
    #[error("{0}")]
    Pin(#[from] PinError),
    /// The audit cannot be written, or was modified. A security officer must investigate.
    #[error("audit: {0}")]
    Audit(#[from] AuditError),
    /// The ledger cannot be used. The administrator's responsibility.
    #[error("{0}")]
    Ledger(#[from] LedgerError),
    /// A configured key cannot serve its purpose. The administrator's responsibility.
    #[error("{0}")]
    Unfit(String),
    /// The state directory cannot be used as it is. An administrator repairs it, or a security officer decides.
    #[error("{0}")]
    State(#[from] StateError),
    /// Another part of the station could not be set up.
    #[error("{0}")]
    Setup(String),
    /// The transport failed.
    #[error("transport: {0}")]
    Transport(#[from] transport::Error),
}

/// Reason why a TLS file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct TlsFault {
    /// The file and the defect.
    pub what: String,
    /// The system's error kind; [`io::ErrorKind::InvalidData`] for a defect in the content.
    pub kind: io::ErrorKind,
    /// The remedy, if it can be derived from the file.
    pub hint: Option<String>,
}

impl TlsFault {
    /// Returns the error on one line, with the remedy.
    #[must_use]
    pub fn in_full(&self) -> String {
        self.hint.as_ref().map_or_else(|| self.what.clone(), |hint| format!("{}: {hint}", self.what))
    }
}

impl ServerError {
    /// Returns an I/O error with the attempted operation.
    pub fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }
}
