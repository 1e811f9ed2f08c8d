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
    /// The ledger is older than the audit log.
    #[error("the ledger is older than the audit log ({}): {what}", audit.display())]
    LedgerOutdated {
        /// The service's log.
        audit: PathBuf,
        /// The evidence.
        what: String,
    },
    /// The target of the backup exists.
    #[error("{} already exists", .0.display())]
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
    #[error("the state directory's part {part} is missing or empty ({}), but {shown_by} shows that it existed", path.display())]
    Missing {
        /// The part.
        part: Part,
        /// Its expected path.
        path: PathBuf,
        /// The evidence that it existed.
        shown_by: String,
    },
    /// A part belongs to another state directory, or to another time, than the other parts.
    #[error("the state directory's part {part} does not belong to the other parts ({}): {what}", path.display())]
    Mismatch {
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
            Self::LedgerOutdated { .. } => format!(
                "restore the newest ledger with its ledger.sqlite-wal, or the newest backup (move the ledger, the instance's id and the \
                 keys seen first to another directory, then `state restore BACKUP`). If the newer runs cannot be recovered: \
                 `state accept-loss ledger --reason TEXT`; then {}",
                Part::Ledger.loss()
            ),
            Self::Missing { part, .. } => {
                let recovery = match part {
                    Part::Ledger | Part::Instance => {
                        "restore the newest backup (move the remaining parts to another directory, then `state restore BACKUP`), or the file from a copy of the disk"
                    }
                    Part::Audit => {
                        "restore the log's directory from where it was moved, or from a copy of the disk; check [audit] directory"
                    }
                    Part::FirstSeen | Part::KeyStates | Part::Station => "restore it from the newest backup, or from a copy of the disk",
                };
                format!("{recovery}. If it cannot be recovered: `state accept-loss {part} --reason TEXT`; then {}", part.loss())
            }
            Self::Mismatch { part: Part::Station, .. } => format!(
                "give each station a state directory of its own. If the station has a new id: `state accept-loss station --reason TEXT`; \
                 then {}",
                Part::Station.loss()
            ),
            Self::Mismatch { part: Part::Audit, .. } => {
                "restore the log's directory from where it was moved, or from a copy of the disk; check [audit] directory. If it cannot be \
                 recovered: `state accept-loss audit --reason TEXT`; then the service continues the log that exists, and the ledger is \
                 no longer compared with the lost one".to_owned()
            }
            Self::Mismatch { part, .. } => format!(
                "the directory contains parts of two stations, or of two times: restore the part that belongs here (`state restore` restores \
                 all of them), or `state accept-loss {part} --reason TEXT`; then {}",
                part.loss()
            ),
            Self::NotLost(_) => "nothing was changed; when the service is started, it reports missing parts".to_owned(),
            Self::InTheWay(_) => {
                "name a directory that does not exist yet; before a restore, move the old state to another directory".to_owned()
            }
            Self::Unsound { .. } => "use another backup; nothing was restored".to_owned(),
            Self::OpenRuns(_) => {
                "their outcome since the backup is unknown. Check their images in the engine and save what must not be lost, then use \
                 --open-runs keep (the next start continues from the backup; correct if nothing has happened since) or \
                 --open-runs forget (the runs end as failed, their stops may run again, and nothing is removed)"
                    .to_owned()
            }
            Self::Io { .. } => return None,
        })
    }
}
