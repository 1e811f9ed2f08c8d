//! Reads the PIN from a file, a systemd credential, the environment or a terminal. Never from a command line, which every
//! process on the machine can read.
//!
//! A service logs in again after its token was unavailable. Between logins the PIN is not in ordinary memory: it is read from
//! its file again, and a PIN from the environment or a terminal is kept in pages that no core dump contains.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use secrecy::{ExposeSecret, SecretString};
use stationmaster_system::{
    files::{
        explained, guarded,
        guarded::{GuardError, Reader, Secrecy},
        words,
    },
    memory::{SecretPages, take_variable},
};
use zeroize::Zeroizing;

/// Maximum length in bytes; anything longer is not a PIN.
const MAX_PIN: u64 = 4096;

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

/// Source of a PIN, read at each login. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PinSource(Source);

#[derive(Debug, Clone)]
enum Source {
    File { path: PathBuf, closed_to_others: bool },
    Kept(Arc<SecretPages>),
}

/// For messages: names the place where the PIN can be corrected.
impl std::fmt::Display for PinSource {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Source::File { path, closed_to_others: true, .. } => write!(out, "the file {}", path.display()),
            Source::File { path, .. } => write!(out, "the systemd credential {}", path.display()),
            Source::Kept(_) => out.write_str("the environment or the terminal"),
        }
    }
}

impl PinSource {
    /// Keeps a PIN that cannot be read from its source again.
    ///
    /// # Errors
    /// [`PinError::NoMemory`].
    pub fn keep(pin: &SecretString) -> Result<PinSource, PinError> {
        let kept = SecretPages::new(pin.expose_secret().as_bytes())
            .map_err(|error| PinError::NoMemory { kind: error.kind(), reason: words(&error) })?;
        Ok(PinSource(Source::Kept(Arc::new(kept))))
    }

    fn file(path: PathBuf, closed_to_others: bool) -> Result<PinSource, PinError> {
        let source = PinSource(Source::File { path, closed_to_others });
        // A defect of the file is reported now, not at the first login.
        source.read()?;
        Ok(source)
    }

    /// Returns the PIN for one login. The caller should drop it soon.
    ///
    /// # Errors
    /// When its file can no longer be read, or no longer holds a PIN.
    pub fn read(&self) -> Result<SecretString, PinError> {
        match &self.0 {
            Source::File { path, closed_to_others } => read(path, *closed_to_others, &self.to_string()),
            Source::Kept(pin) => {
                let text = std::str::from_utf8(pin.expose()).map_err(|_| PinError::Malformed { from: "memory".to_owned() })?;
                Ok(SecretString::from(text.to_owned()))
            }
        }
    }
}

impl PinSource {
    /// Checks whether the next login could read the PIN, without reading it: only whether its first line is empty is looked at.
    ///
    /// # Errors
    /// As [`PinSource::read`].
    pub fn check(&self) -> Result<(), PinError> {
        let Source::File { path, closed_to_others } = &self.0 else { return Ok(()) };
        let mut first = [0];
        let read = open(path, *closed_to_others)?.read(&mut first).map_err(|error| unreadable(path, error))?;
        match first[..read] {
            [] | [b'\n' | b'\r'] => Err(PinError::Malformed { from: self.to_string() }),
            _ => Ok(()),
        }
    }
}

/// Finds the first source that is named and exists: `file`, then the systemd credential
/// `$CREDENTIALS_DIRECTORY/credential_name`, then the environment variable `env_var`, then, with `prompt`, the terminal. The PIN is
/// the first line without its line end. Blocks while the user types. The variable is cleared for this process afterwards, so a
/// PIN is taken from it once.
///
/// # Errors
/// See [`PinError`]. A named file must exist and be closed to others; the mode of a credential is left to systemd.
pub fn resolve(
    file: Option<&Path>,
    env_var: Option<&str>,
    credential_name: Option<&str>,
    prompt: bool,
) -> Result<PinSource, PinError> {
    if let Some(path) = file {
        return PinSource::file(path.to_owned(), true);
    }
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    if let (Some(name), Some(directory)) = (credential_name, &credentials) {
        let path = directory.join(name);
        if path.exists() {
            return PinSource::file(path, false);
        }
    }
    if let Some(name) = env_var
        && let Some(value) = take_variable(name)
    {
        tracing::warn!(variable = name, "the PIN comes from the environment, which other processes of this user could read");
        let value = std::str::from_utf8(&value).map_err(|_| PinError::Malformed { from: variable(name) })?;
        return PinSource::keep(&pin(value, &variable(name))?);
    }
    if prompt {
        let typed = rpassword::prompt_password("User PIN: ").map_err(|error| PinError::Prompt { reason: words(&error) })?;
        return PinSource::keep(&pin(&Zeroizing::new(typed), "the terminal")?);
    }
    Err(match (credential_name, env_var) {
        (Some(name), _) => PinError::NoCredential { name: name.to_owned(), directory: credentials },
        (None, Some(name)) => PinError::NoVariable { name: name.to_owned() },
        (None, None) => PinError::NoSource,
    })
}

fn variable(name: &str) -> String {
    format!("the environment variable {name}")
}

fn unreadable(path: &Path, error: std::io::Error) -> PinError {
    let kind = error.kind();
    PinError::Unreadable { kind, reason: words(&explained(path, error)), path: path.to_owned() }
}

/// Opens a file that may hold a PIN. Owner and mode of a credential are left to systemd; a FIFO is never waited for.
fn open(path: &Path, closed_to_others: bool) -> Result<File, PinError> {
    let unreadable = |error| unreadable(path, error);
    let file = if closed_to_others {
        guarded::open_guarded(path, Reader::Command, Secrecy::Secret).map_err(|refused| match refused {
            GuardError::Rule(why) => PinError::Unprotected(why),
            GuardError::NotAFile(why) => PinError::NotAFile(why),
            GuardError::Missing => unreadable(std::io::ErrorKind::NotFound.into()),
            GuardError::Io(error) => unreadable(error),
        })?
    } else {
        let flags = (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY).bits().cast_signed();
        File::options().read(true).custom_flags(flags).open(path).map_err(unreadable)?
    };
    // The mode is read from the opened file, so that what is checked is what is read.
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o7777;
    if closed_to_others && mode & 0o077 != 0 {
        return Err(PinError::TooOpen { path: path.to_owned(), mode });
    }
    Ok(file)
}

fn read(path: &Path, closed_to_others: bool, from: &str) -> Result<SecretString, PinError> {
    let file = open(path, closed_to_others)?;
    // Full capacity beforehand: a growing buffer leaves copies of the PIN behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_PIN as usize + 2));
    match file.take(MAX_PIN + 2).read_to_string(&mut text) {
        Ok(_) => pin(&text, from),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Err(PinError::Malformed { from: from.to_owned() }),
        Err(error) => Err(unreadable(path, error)),
    }
}

fn pin(text: &str, from: &str) -> Result<SecretString, PinError> {
    // Further lines are notes for people.
    let (bare, _) = text.split_once('\n').unwrap_or((text, ""));
    let bare = bare.strip_suffix('\r').unwrap_or(bare);
    if bare.is_empty() || bare.len() as u64 > MAX_PIN {
        return Err(PinError::Malformed { from: from.to_owned() });
    }
    Ok(SecretString::from(bare.to_owned()))
}

#[cfg(test)]
#[expect(unsafe_code, reason = "changes the environment of the test")]
mod tests {
    use super::*;

    fn read_from(file: &Path) -> Result<String, PinError> {
        Ok(resolve(Some(file), None, None, false)?.read()?.expose_secret().to_owned())
    }

    fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn the_first_line_is_the_pin() {
        for text in
            ["12 34", "12 34\n", "12 34\r\n", "12 34\n\n", "12 34\nkept by: it-security, ticket 4711\n", "12 34\r\nsecond"]
        {
            assert_eq!(read_from(file(text, 0o600).path()).unwrap(), "12 34", "{text:?}");
        }
        for text in ["", "\n", "\r\n", "\n1234\n"] {
            let file = file(text, 0o600);
            let refused = resolve(Some(file.path()), None, None, false).unwrap_err();
            assert!(matches!(refused, PinError::Malformed { .. }), "{text:?}: {refused:?}");
            assert!(refused.to_string().contains(file.path().to_str().unwrap()), "{text:?}: {refused}");
        }
    }

    #[test]
    fn a_file_open_to_others_is_refused_with_the_cure() {
        for mode in [0o640, 0o604, 0o660] {
            let error = resolve(Some(file("1234", mode).path()), None, None, false).unwrap_err();
            assert!(error.to_string().contains("chmod 600") && !error.to_string().contains("1234"), "{error}");
        }
    }

    #[test]
    fn a_named_file_that_is_missing_is_not_passed_over() {
        let missing = Path::new("/nonexistent/pin");
        assert!(matches!(resolve(Some(missing), Some("PATH"), None, false), Err(PinError::Unreadable { .. })));
        assert!(matches!(resolve(None, None, None, false), Err(PinError::NoSource)));
    }

    #[test]
    fn a_source_that_is_named_and_not_there_is_what_the_message_is_about() {
        let credential = resolve(None, None, Some("pin"), false).unwrap_err();
        assert!(
            credential.to_string().contains("\"pin\"") && credential.to_string().contains("CREDENTIALS_DIRECTORY"),
            "{credential}"
        );
        let hint = credential.hint().unwrap();
        assert!(hint.contains("systemd-run") && hint.contains("--pin-file"), "{hint}");
        let variable = resolve(None, Some("STATIONMASTER_NO_SUCH_PIN"), None, false).unwrap_err();
        assert!(variable.to_string().contains("STATIONMASTER_NO_SUCH_PIN"), "{variable}");
    }

    #[test]
    fn a_file_is_read_anew_and_a_variable_is_kept() {
        let file = file("1234", 0o600);
        let source = resolve(Some(file.path()), None, None, false).unwrap();
        std::fs::write(file.path(), "5678").unwrap();
        assert_eq!(source.read().unwrap().expose_secret(), "5678");
        source.check().unwrap();
        for text in ["", "\n", "\r\n5678"] {
            std::fs::write(file.path(), text).unwrap();
            assert!(matches!(source.check(), Err(PinError::Malformed { .. })), "{text:?}");
        }
        std::fs::remove_file(file.path()).unwrap();
        assert!(matches!(source.read(), Err(PinError::Unreadable { .. })));
        assert!(source.check().unwrap_err().to_string().contains(file.path().to_str().unwrap()));

        let name = "STATIONMASTER_TEST_PIN";
        // SAFETY: no other test names this variable, and none lists them all.
        unsafe { std::env::set_var(name, "90\n") };
        let source = resolve(None, Some(name), Some("no-credential"), false).unwrap();
        assert_eq!(std::env::var(name).as_deref(), Ok(""));
        assert_eq!((source.read().unwrap().expose_secret(), source.read().unwrap().expose_secret()), ("90", "90"));
        assert!(!format!("{source:?}").contains("90"));
    }
}
