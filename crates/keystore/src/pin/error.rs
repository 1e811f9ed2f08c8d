//! Why there is no PIN, and what the administrator can do about it.

use std::path::PathBuf;

/// Why there is no PIN. The operator must correct every cause; a retry does not help.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// No source was named, or none of them holds a PIN.
    #[error("no PIN is named, and there is no terminal to ask for it")]
    NoSource,
    /// A systemd credential is named, but this process did not receive it.
    #[error("the PIN is the systemd credential {name:?}, and {}", match directory {
        Some(directory) => format!("{} (CREDENTIALS_DIRECTORY) does not hold it", directory.display()),
        None => "this process has no credentials (CREDENTIALS_DIRECTORY is not set)".to_owned(),
    })]
    NoCredential {
        /// The credential's name.
        name: String,
        /// The directory of the process's credentials.
        directory: Option<PathBuf>,
    },
    /// An environment variable is named, but it is unset or empty.
    #[error("the PIN is the environment variable {name}, which is not set")]
    NoVariable {
        /// The variable's name.
        name: String,
    },
    /// The file cannot be read.
    #[error("the PIN file {} cannot be read: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The kind of the system's error.
        kind: std::io::ErrorKind,
        /// What happened; when permission is missing, also the file's owner and the remedy.
        reason: String,
    },
    /// Other users could have changed the file, or it is not a file. Contains path and remedy.
    #[error("the PIN file: {0}")]
    Unprotected(String),
    /// The path is not a regular file. Contains what was found there.
    #[error("the PIN file: {0}")]
    NotAFile(String),
    /// Users other than the owner may read or write the file.
    #[error("the PIN file {} is open to others (mode {mode:04o}); hint: chmod 600 {}", path.display(), path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The source exists, but it is empty, longer than a PIN, or not UTF-8.
    #[error("the PIN from {from} cannot be used: its first line is empty, too long or not UTF-8")]
    Malformed {
        /// The source; of a file, with its path.
        from: String,
    },
    /// The PIN could not be requested from the terminal.
    #[error("there is no terminal to ask for the PIN ({reason})")]
    Prompt {
        /// What happened.
        reason: String,
    },
    /// There is no memory to keep the PIN in.
    #[error("there is no memory to keep the PIN in: {reason}")]
    NoMemory {
        /// What happened.
        reason: String,
        /// The kind of the system's error.
        kind: std::io::ErrorKind,
    },
}

impl PinError {
    /// Returns the system's kind of error; for a source that is named wrongly or holds no PIN, [`std::io::ErrorKind::InvalidInput`].
    #[must_use]
    pub fn kind(&self) -> std::io::ErrorKind {
        use std::io::ErrorKind;
        match self {
            Self::Unreadable { kind, .. } | Self::NoMemory { kind, .. } => *kind,
            Self::NoCredential { .. } => ErrorKind::NotFound,
            Self::Unprotected(_) | Self::TooOpen { .. } => ErrorKind::PermissionDenied,
            Self::NotAFile(_) => ErrorKind::IsADirectory,
            Self::Malformed { .. } => ErrorKind::InvalidData,
            Self::NoSource | Self::NoVariable { .. } | Self::Prompt { .. } => ErrorKind::InvalidInput,
        }
    }

    /// Returns a remedy, for a user at a terminal.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoSource | Self::Prompt { .. } => {
                "name a file: pin_file in [token], or --pin-file; or run the command from a terminal".to_owned()
            }
            Self::NoCredential { name, .. } => format!(
                "give it to the command as the unit does: `systemd-run --pipe --wait -p LoadCredentialEncrypted={name}:/etc/stationmaster/{name}.cred \
                 stationmaster …`, or name a file with the PIN: --pin-file FILE"
            ),
            Self::Unreadable { path, .. } if matches!(path.try_exists(), Ok(false)) => format!(
                "write the PIN into it, as its first line (`install -m 600 /dev/null {}`, then an editor), or name the file that has it: \
                 pin_file in [token], --pin-file, --so-pin-file",
                path.display()
            ),
            Self::Malformed { .. } => "the PIN is the first line, alone, in UTF-8 and of at most 4096 bytes".to_owned(),
            Self::NoVariable { .. } => "set it for this command, or name a file with the PIN: --pin-file FILE".to_owned(),
            _ => return None,
        })
    }
}
