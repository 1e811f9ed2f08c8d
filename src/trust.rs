//! Trust configuration of a station: pinned keys of creators and stations, and allowed master images.
//!
//! A train states the keys with which it is to be verified, so a train alone proves nothing about its creator. The entries that an
//! administrator has written here do. [`TrustStore`] holds the entries, [`file`] is their format on disk, and [`Trust`] is what a
//! service uses: the mode, and files that are read again when they change.

pub mod current;
pub mod file;
mod master;
mod store;

use std::{io, path::PathBuf};

pub use master::{Master, MasterError};
pub use store::{EntryError, KeyVerdict, OwnerKind, Pin, TrustStore};
use thiserror::Error;

pub use self::current::{NewPin, PinningError, Trust, TrustSnapshot};
pub use crate::watched_file::FileError;

/// How a station decides which keys to trust.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrustMode {
    /// Trusts only keys that an administrator has written into the trust file.
    #[default]
    Pinned,
    /// Trusts those, and the first key that is seen for an id, from then on.
    FirstUse,
    /// Trusts the keys that the train itself states. Anyone can make a train that runs.
    Embedded,
}

impl TrustMode {
    /// Returns the mode's name in configurations.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::FirstUse => "first-use",
            Self::Embedded => "embedded",
        }
    }
}

/// Why a trust file cannot be used. An administrator must correct it. Names paths: for the log and the command line, not for callers.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not a trust file.
    #[error("{}:{line}: {message}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// An entry cannot be used.
    #[error("{}: [[{kind}]] number {number}: {cause}", file.display())]
    Entry {
        /// The file.
        file: PathBuf,
        /// `creator`, `station` or `master`.
        kind: &'static str,
        /// Number of the entry among those of its kind, from 1.
        number: usize,
        /// What is wrong with it.
        cause: EntryError,
    },
}

impl TrustError {
    /// Returns the system's kind of error; for invalid contents, [`io::ErrorKind::InvalidData`].
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::File(error) => error.kind(),
            Self::Syntax { .. } | Self::Entry { .. } => io::ErrorKind::InvalidData,
        }
    }

    /// Returns a remedy.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::File(FileError::Missing(_)) => {
                "`stationmaster trust add creator ID --key FILE --config FILE` creates one, and `trust import` imports the keys of \
                 a known train; `trust --help` shows more"
            }
            Self::File(FileError::Read { .. }) => {
                "the service's user must be able to read it: use mode 0644, because it contains no secret"
            }
            Self::File(FileError::Unprotected(_)) => {
                "only the service's user and root may write this file, because it decides which keys the station trusts"
            }
            Self::File(FileError::NotAFile(_)) => "name the trust file: --file FILE, or `file` in [trust] of the configuration",
            Self::Syntax { .. } | Self::Entry { .. } => "`stationmaster trust verify --file FILE` checks it",
            Self::File(FileError::Write { .. }) => "its directory must be writable, because a new file is written and renamed",
        }
    }
}
