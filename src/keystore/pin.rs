//! Where the PIN comes from: a file, a systemd credential, the environment, or a person. Never a command line, which every
//! process on the machine can read.
//!
//! A service logs in again when its token was away. Until then the PIN is not in its memory: it is read from its file again,
//! and what came from the environment or a person waits in pages that no core image holds.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::memory::{Guarded, take_variable};

/// A PIN longer than this is not a PIN.
const MAX_PIN: u64 = 4096;

/// Why there is no PIN. All are the operator's to correct; no retry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    /// No source was named, or none of them holds a PIN.
    #[error("no PIN: name a file, a credential or an environment variable, or run from a terminal")]
    NoSource,
    /// The file cannot be read.
    #[error("the PIN file {} cannot be read: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What happened.
        reason: std::io::ErrorKind,
    },
    /// Others than the owner may read or write the file.
    #[error("the PIN file {} is open to others (mode {mode:04o}); hint: chmod 600 {}", path.display(), path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The source is there and holds nothing, or more than a PIN, or not UTF-8.
    #[error("the PIN from {from} is empty, too long or not UTF-8")]
    Malformed {
        /// Which source.
        from: &'static str,
    },
    /// The terminal could not be asked.
    #[error("the terminal could not be asked for the PIN: {reason}")]
    Prompt {
        /// What happened.
        reason: std::io::ErrorKind,
    },
    /// There is no memory to keep it in.
    #[error("there is no memory to keep the PIN in: {reason}")]
    NoMemory {
        /// What happened.
        reason: std::io::ErrorKind,
    },
}

/// A PIN's source, to be read at each login. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PinSource(Source);

#[derive(Debug, Clone)]
enum Source {
    File { path: PathBuf, closed_to_others: bool, from: &'static str },
    Kept(Arc<Guarded>),
}

impl PinSource {
    /// Keeps a PIN that cannot be read again.
    ///
    /// # Errors
    /// [`PinError::NoMemory`].
    pub fn keep(pin: &SecretString) -> Result<PinSource, PinError> {
        let kept = Guarded::new(pin.expose_secret().as_bytes()).map_err(|error| PinError::NoMemory { reason: error.kind() })?;
        Ok(PinSource(Source::Kept(Arc::new(kept))))
    }

    fn file(path: PathBuf, closed_to_others: bool, from: &'static str) -> Result<PinSource, PinError> {
        let source = PinSource(Source::File { path, closed_to_others, from });
        // What is wrong with the file is said now, not at the first login.
        source.read()?;
        Ok(source)
    }

    /// The PIN, for one login: who asks drops it soon.
    ///
    /// # Errors
    /// When its file can no longer be read, or holds no PIN any more.
    pub fn read(&self) -> Result<SecretString, PinError> {
        match &self.0 {
            Source::File { path, closed_to_others, from } => read(path, *closed_to_others, from),
            Source::Kept(pin) => {
                let text = std::str::from_utf8(pin.expose()).map_err(|_| PinError::Malformed { from: "memory" })?;
                Ok(SecretString::from(text.to_owned()))
            }
        }
    }
}

/// The PIN from the first source that is named and there: `file`, then the systemd credential
/// `$CREDENTIALS_DIRECTORY/credential_name`, then the environment variable `env_var`, then, with `prompt`, the terminal. One
/// newline at the end is dropped. Blocks for the person. The variable is empty for this process afterwards: a PIN is taken from
/// it once.
///
/// # Errors
/// See [`PinError`]. A file that is named must be there and closed to others; a credential's mode is systemd's affair.
pub fn resolve(
    file: Option<&Path>,
    env_var: Option<&str>,
    credential_name: Option<&str>,
    prompt: bool,
) -> Result<PinSource, PinError> {
    if let Some(path) = file {
        return PinSource::file(path.to_owned(), true, "the file");
    }
    if let (Some(name), Some(directory)) = (credential_name, std::env::var_os("CREDENTIALS_DIRECTORY")) {
        let path = Path::new(&directory).join(name);
        if path.exists() {
            return PinSource::file(path, false, "the systemd credential");
        }
    }
    if let Some(name) = env_var
        && let Some(value) = take_variable(name)
    {
        tracing::warn!(variable = name, "the PIN comes from the environment, which other processes of this user could read");
        let value = std::str::from_utf8(&value).map_err(|_| PinError::Malformed { from: "the environment" })?;
        return PinSource::keep(&pin(value, "the environment")?);
    }
    if prompt {
        let typed = rpassword::prompt_password("User PIN: ").map_err(|error| PinError::Prompt { reason: error.kind() })?;
        return PinSource::keep(&pin(&Zeroizing::new(typed), "the terminal")?);
    }
    Err(PinError::NoSource)
}

fn read(path: &Path, closed_to_others: bool, from: &'static str) -> Result<SecretString, PinError> {
    let unreadable = |error: std::io::Error| PinError::Unreadable { path: path.to_owned(), reason: error.kind() };
    // The mode is asked of the opened file, so that what is checked is what is read.
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o7777;
    if closed_to_others && mode & 0o077 != 0 {
        return Err(PinError::TooOpen { path: path.to_owned(), mode });
    }
    // Room for all of it beforehand: a growing buffer leaves copies of the PIN behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_PIN as usize + 2));
    match file.take(MAX_PIN + 2).read_to_string(&mut text) {
        Ok(_) => pin(&text, from),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Err(PinError::Malformed { from }),
        Err(error) => Err(unreadable(error)),
    }
}

fn pin(text: &str, from: &'static str) -> Result<SecretString, PinError> {
    let bare = text.strip_suffix('\n').unwrap_or(text);
    let bare = bare.strip_suffix('\r').unwrap_or(bare);
    if bare.is_empty() || bare.len() as u64 > MAX_PIN {
        return Err(PinError::Malformed { from });
    }
    Ok(SecretString::from(bare.to_owned()))
}

#[cfg(test)]
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
    fn one_newline_is_dropped_and_no_more() {
        for (text, want) in [("1234", "1234"), ("1234\n", "1234"), ("1234\r\n", "1234"), ("12 34\n\n", "12 34\n")] {
            assert_eq!(read_from(file(text, 0o600).path()).unwrap(), want);
        }
        assert!(matches!(resolve(Some(file("\n", 0o600).path()), None, None, false), Err(PinError::Malformed { .. })));
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
    fn a_file_is_read_anew_and_a_variable_is_kept() {
        let file = file("1234", 0o600);
        let source = resolve(Some(file.path()), None, None, false).unwrap();
        std::fs::write(file.path(), "5678").unwrap();
        assert_eq!(source.read().unwrap().expose_secret(), "5678");
        std::fs::remove_file(file.path()).unwrap();
        assert!(matches!(source.read(), Err(PinError::Unreadable { .. })));

        let name = "STATIONMASTER_TEST_PIN";
        // SAFETY: no other test names this variable, and none lists them all.
        unsafe { std::env::set_var(name, "90\n") };
        let source = resolve(None, Some(name), Some("no-credential"), false).unwrap();
        assert_eq!(std::env::var(name).as_deref(), Ok(""));
        assert_eq!((source.read().unwrap().expose_secret(), source.read().unwrap().expose_secret()), ("90", "90"));
        assert!(!format!("{source:?}").contains("90"));
    }
}
