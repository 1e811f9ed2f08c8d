//! Errors of writing and reading the audit log.

use std::{io, path::PathBuf};

/// Why the audit log cannot be written or read. The operator must correct the cause; a retry then helps.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// A file cannot be opened, read or written.
    #[error("cannot {what}: {source}")]
    Io {
        /// The operation that failed.
        what: String,
        /// The cause.
        source: io::Error,
    },
    /// Another process writes to the log.
    #[error("another process writes to {}", .0.display())]
    Held(PathBuf),
    /// The files do not contain the chain that was written. An administrator must decide how to continue.
    #[error("{}: {what}", file.display())]
    Broken {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The log is being closed.
    #[error("the audit log is closed")]
    Closed,
}

impl AuditError {
    pub(super) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }

    /// Returns what an administrator can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotADirectory => {
                "a log is a directory: name the state directory with --state, or the configuration with --config"
            }
            Self::Io { .. } => {
                "operations are refused while they cannot be recorded: check the disk and the permissions of the audit directory"
            }
            Self::Held(_) => "wait for the other command, or stop the other service",
            Self::Broken { .. } => {
                "`audit verify` shows the place; keep the files as evidence: move the log's directory, then `state accept-loss audit --reason TEXT` lets the service begin a new one"
            }
            Self::Closed => "the service is ending",
        }
    }
}
