//! Why a state directory could not be backed up or restored.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::ledger::LedgerError;

/// Why a state directory could not be backed up or restored. The operator's to mend; nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// A file cannot be had.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Where the backup shall go, there is something.
    #[error("{} is there already", .0.display())]
    InTheWay(PathBuf),
    /// The backup is not one, or not as it was made.
    #[error("{}: {reason}", path.display())]
    Unsound {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The backup holds runs that were open when it was made, and nobody has said what shall become of them.
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

    /// What to do about it, where there is more to say.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Ledger(error) => error.hint(),
            Self::InTheWay(_) => {
                Some("name a directory that is not there yet; to restore, move the old state out of the way first")
            }
            Self::Unsound { .. } => Some("take another backup; nothing was put in place"),
            Self::OpenRuns(_) => Some(
                "what became of them since the backup is not known. Look at their images in the engine and save what must not be \
                 lost, then say --open-runs keep (the next start goes on where the backup was: good when nothing has happened \
                 since) or --open-runs forget (they are ended as failed, their stops are free, and nothing is wiped)",
            ),
            Self::Io { .. } => None,
        }
    }
}
