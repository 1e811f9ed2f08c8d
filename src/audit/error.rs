//! Why the audit cannot be written or read.

use std::{io, path::PathBuf};

/// Why the audit cannot be written or read. The operator's to mend; a retry helps once it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// A file cannot be had or written.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Another process writes to the log.
    #[error("{} is written to by another process", .0.display())]
    Held(PathBuf),
    /// What lies there is not the chain that was written. Nobody's to mend without an officer.
    #[error("{}: {what}", file.display())]
    Broken {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The log is being closed.
    #[error("the audit is closed")]
    Closed,
}

impl AuditError {
    pub(super) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }

    /// What an officer does about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotADirectory => {
                "a log is a directory: name the state directory with --state, or the configuration with --config"
            }
            Self::Io { .. } => "nothing is done unrecorded: check the disk and the permissions of the audit's directory",
            Self::Held(_) => "wait for the other command, or stop the other service",
            Self::Broken { .. } => {
                "`audit verify` shows where; keep the file as evidence: move the log's directory away, then `state accept-loss audit --reason TEXT` lets the service begin a new one"
            }
            Self::Closed => "the service is ending",
        }
    }
}
