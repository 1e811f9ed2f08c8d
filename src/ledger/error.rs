//! Errors of reading and writing the ledger.

use std::path::PathBuf;

use thiserror::Error;

use super::RunState;

/// The error of the database's own library.
pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why the ledger could not be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The database failed. The operator's fault (disk, permissions); a retry may help.
    #[error("the ledger failed: {0}")]
    Database(Cause),
    /// The disk under it is full. The operator's fault; a retry helps when there is space.
    #[error("the ledger's disk is full")]
    DiskFull,
    /// The required ledger does not exist.
    #[error("there is no ledger {}", .0.display())]
    Absent(PathBuf),
    /// The user may not read the ledger.
    #[error("the ledger {} cannot be read: {source}", file.display())]
    Closed {
        /// Its file.
        file: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A newer version has written it. Nothing was changed.
    #[error("the ledger was written by a newer version (its schema is {schema}, this version knows {known})")]
    Newer {
        /// The schema of the file.
        schema: i64,
        /// The newest schema that this version supports.
        known: i64,
    },
    /// An older version has written it, and no service of this version has opened it yet.
    #[error("the ledger was written by an older version (its schema is {schema}, this version's is {known})")]
    Older {
        /// The schema of the file.
        schema: i64,
        /// The schema of this version.
        known: i64,
    },
    /// The file is not a database, or is damaged. Nothing was changed.
    #[error("the ledger's file is damaged: {0}")]
    Damaged(String),
    /// It cannot be migrated to this version's schema.
    #[error("the ledger cannot be brought to this version: {0}")]
    Migration(Cause),
    /// A row cannot be read: the database was changed by another program.
    #[error("the ledger holds an unreadable row: {0}")]
    Corrupt(String),
    /// The run's state changed meanwhile. A retry helps.
    #[error("the run is no longer in the state {0}")]
    StateChanged(&'static str),
    /// No run has this id.
    #[error("the ledger has no run {0:?}")]
    NoSuchRun(String),
    /// No train session has this id.
    #[error("the ledger has no train session {0}")]
    NoSuchSession(String),
    /// The run is in a state that does not allow the administrator's change.
    #[error("the run is {}", .0.as_str())]
    InState(RunState),
    /// The run's stop was released before.
    #[error("the run's stop was released before")]
    ReleasedBefore,
}

impl LedgerError {
    /// Returns a remedy, if there is more than the message.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Closed { source, .. } if source.kind() == std::io::ErrorKind::InvalidInput => Some(
                "the service follows no link to its ledger: put the file itself there, or name the directory that it is in as [state] directory",
            ),
            Self::Closed { source, .. } if source.kind() == std::io::ErrorKind::NotADirectory => {
                Some("the state directory is a directory: name it with --state, or `directory` in [state] of the configuration")
            }
            Self::Closed { .. } => {
                Some("run the command as the service's user, or as root: `sudo -u stationmaster stationmaster …`")
            }
            Self::Absent(_) => Some("a service makes it at its first start; is this its state directory?"),
            Self::Newer { .. } => Some("run the newer version, or restore a backup of before the update (`state restore`)"),
            Self::Older { .. } => Some("start the service of this version once: it brings the ledger up to date"),
            Self::Damaged(_) => Some(
                "keep the file, look at the disk, then restore a backup (`state restore`); without its ledger a station opens any \
                 train that it has finished once more",
            ),
            Self::NoSuchRun(_) => Some("`run list` shows all"),
            Self::DiskFull => Some("make room on the state directory's disk"),
            _ => None,
        }
    }
}
