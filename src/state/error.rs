//! Errors of using, backing up and restoring a state directory.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::Part;
use crate::{audit::AuditError, ledger::LedgerError};

/// Why a state directory cannot be used, backed up or restored. The operator must correct the cause; nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// A file cannot be opened, read or written.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// The operation that failed.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The audit.
    #[error("the audit: {0}")]
    Audit(#[from] AuditError),
    /// The ledger is older than the audit beside it.
    #[error("the ledger is older than the audit beside it ({}): {what}", audit.display())]
    Behind {
        /// The service's log.
        audit: PathBuf,
        /// The evidence.
        what: String,
    },
    /// The target of the backup exists.
    #[error("{} is there already", .0.display())]
    InTheWay(PathBuf),
    /// The backup is invalid, or was changed after it was made.
    #[error("{}: {reason}", path.display())]
    Unsound {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A part is missing or empty, although another part shows that it existed.
    #[error("the state directory's part {part} is missing or empty ({}), but {shown_by} shows that it was there", path.display())]
    Missing {
        /// The part.
        part: Part,
        /// Its expected path.
        path: PathBuf,
        /// The evidence that it existed.
        shown_by: String,
    },
    /// A part does not belong to the same life as its neighbours.
    #[error("the state directory's part {part} is of another life ({}): {what}", path.display())]
    OtherLife {
        /// The part.
        part: Part,
        /// Its path.
        path: PathBuf,
        /// What was found, and what was expected.
        what: String,
    },
    /// A part that is to be given up as lost exists.
    #[error("the part {0} is not lost")]
    NotLost(Part),
    /// The backup contains runs that were open when it was made, and it was not specified what to do with them.
    #[error("{} runs were open when the backup was made: {}", .0.len(), .0.join(", "))]
    OpenRuns(Vec<String>),
}

impl StateError {
    pub(super) fn io<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { what, path: path.to_owned(), source }
    }

    pub(super) fn unsound(path: &Path, reason: impl Into<String>) -> Self {
        Self::Unsound { path: path.to_owned(), reason: reason.into() }
    }

    /// Returns a remedy, if there is more than the message.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Ledger(error) => return error.hint().map(str::to_owned),
            Self::Audit(error) => error.hint().to_owned(),
            Self::Behind { .. } => format!(
                "put the newest ledger back, with the ledger.sqlite-wal that belongs to it; or the newest backup (move the ledger, the \
                 instance's id and the keys seen first aside, then `state restore BACKUP`). If what came after it is lost for good: \
                 `state accept-loss ledger --reason TEXT`; then {}",
                Part::Ledger.loss()
            ),
            Self::Missing { part, .. } => {
                let put_back = match part {
                    Part::Ledger | Part::Instance => {
                        "put it back: the newest backup (move what is left aside, then `state restore BACKUP`), or the file from a copy of the disk"
                    }
                    Part::Audit => {
                        "put it back: the log's directory from where it was moved, or from a copy of the disk; is [audit] directory right?"
                    }
                    Part::FirstSeen | Part::Station => "put it back from the newest backup, or from a copy of the disk",
                };
                format!("{put_back}. If it is lost for good: `state accept-loss {part} --reason TEXT`; then {}", part.loss())
            }
            Self::OtherLife { part: Part::Station, .. } => format!(
                "give each station a state directory of its own. If the station has a new id: `state accept-loss station --reason TEXT`; \
                 then {}",
                Part::Station.loss()
            ),
            Self::OtherLife { part: Part::Audit, .. } => {
                "put the log's directory back from where it was moved, or from a copy of the disk; is [audit] directory right? If it is \
                 lost for good: `state accept-loss audit --reason TEXT`; then the service goes on in the log that is there, and what the \
                 other one records is not held against it".to_owned()
            }
            Self::OtherLife { part, .. } => format!(
                "parts of two stations, or of two times, lie together: put the part back that belongs here (`state restore` brings all of \
                 them), or `state accept-loss {part} --reason TEXT`; then {}",
                part.loss()
            ),
            Self::NotLost(_) => "nothing was changed; a start of the service says what is missing, if anything is".to_owned(),
            Self::InTheWay(_) => {
                "name a directory that is not there yet; to restore, move the old state out of the way first".to_owned()
            }
            Self::Unsound { .. } => "take another backup; nothing was put in place".to_owned(),
            Self::OpenRuns(_) => {
                "what became of them since the backup is not known. Look at their images in the engine and save what must not be \
                 lost, then say --open-runs keep (the next start goes on where the backup was: good when nothing has happened \
                 since) or --open-runs forget (they are ended as failed, their stops are free, and nothing is wiped)"
                    .to_owned()
            }
            Self::Io { .. } => return None,
        })
    }
}
