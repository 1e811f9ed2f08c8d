//! Authorisation of calls. Access is denied by default; an administrator grants it.
//!
//! A [`Principal`] is what a connection proved: names in a client certificate, or user and group at the other end of the Unix
//! socket. A [`Grant`] names RPCs, keys, purposes and trains for one principal. [`Access`] follows the access file and decides; the
//! decision is a [`Permit`], and the service accesses nothing without one.

pub mod current;
pub mod file;
mod grant;
mod principal;
mod purpose;
mod rpc;

use std::{io, path::PathBuf};

pub use self::{
    current::Access,
    grant::{Grant, GrantError, GrantSpec, Grants, Permit},
    principal::{NOBODY, Principal, PrincipalError, Principals},
    purpose::Purpose,
    rpc::{Role, Rpc, RpcKeys},
};
use crate::watched_file::FileError;

/// Why an access file cannot be used. An administrator must correct it. Names paths: for the log and the command line, not for callers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not an access file.
    #[error("{}:{line}: {message}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// A grant cannot be used.
    #[error("{}: [[grant]] number {number}: {cause}", file.display())]
    Grant {
        /// The file.
        file: PathBuf,
        /// Number of the grant, from 1.
        number: usize,
        /// What is wrong with it.
        cause: GrantError,
    },
}

/// Remedy when nothing is granted.
pub const TO_GRANT: &str = "no caller is admitted: `stationmaster access allow PRINCIPAL --role station --config FILE` creates the \
                            file; `access --help` shows more";

impl AccessError {
    /// Returns the system's kind of error; for invalid contents, [`io::ErrorKind::InvalidData`].
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::File(error) => error.kind(),
            Self::Syntax { .. } | Self::Grant { .. } => io::ErrorKind::InvalidData,
        }
    }

    /// Returns a remedy.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::File(FileError::Missing(_)) => TO_GRANT,
            Self::File(FileError::NotAFile(_)) => "name the access file: --file FILE, or `file` in [access] of the configuration",
            Self::File(FileError::Unprotected(_)) => {
                "only the service's user and root may write this file, because it decides who may use the station's keys"
            }
            Self::File(FileError::Write { .. }) => "its directory must be writable, because a new file is written and renamed",
            Self::File(_) => "the service's user must be able to read it: use mode 0644, because it contains no secret",
            Self::Syntax { .. } | Self::Grant { .. } => "`stationmaster access list --file FILE` checks it",
        }
    }
}
