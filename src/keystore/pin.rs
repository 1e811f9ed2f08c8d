//! Where the PIN comes from: a file, a systemd credential, the environment, or a person. Never a command line, which every
//! process on the machine can read.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use zeroize::Zeroizing;

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
}

/// The PIN from the first source that is named and there: `file`, then the systemd credential
/// `$CREDENTIALS_DIRECTORY/credential_name`, then the environment variable `env_var`, then, with `prompt`, the terminal. One
/// newline at the end is dropped. Blocks for the person.
///
/// # Errors
/// See [`PinError`]. A file that is named must be there and closed to others; a credential's mode is systemd's affair.
pub fn resolve(
    file: Option<&Path>,
    env_var: Option<&str>,
    credential_name: Option<&str>,
    prompt: bool,
) -> Result<SecretString, PinError> {
    if let Some(path) = file {
        return read(path, true, "the file");
    }
    if let (Some(name), Some(directory)) = (credential_name, std::env::var_os("CREDENTIALS_DIRECTORY")) {
        let path = Path::new(&directory).join(name);
        if path.exists() {
            return read(&path, false, "the systemd credential");
        }
    }
    if let Some(name) = env_var
        && let Some(value) = std::env::var_os(name)
    {
        tracing::warn!(variable = name, "the PIN comes from the environment, which other processes of this user can read");
        let value = value.into_string().map_err(|_| PinError::Malformed { from: "the environment" })?;
        return pin(Zeroizing::new(value), "the environment");
    }
    if prompt {
        let typed = rpassword::prompt_password("User PIN: ").map_err(|error| PinError::Prompt { reason: error.kind() })?;
        return pin(Zeroizing::new(typed), "the terminal");
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
        Ok(_) => pin(text, from),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Err(PinError::Malformed { from }),
        Err(error) => Err(unreadable(error)),
    }
}

fn pin(text: Zeroizing<String>, from: &'static str) -> Result<SecretString, PinError> {
    let bare = text.strip_suffix('\n').unwrap_or(&text);
    let bare = bare.strip_suffix('\r').unwrap_or(bare);
    if bare.is_empty() || bare.len() as u64 > MAX_PIN {
        return Err(PinError::Malformed { from });
    }
    Ok(SecretString::from(bare.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn one_newline_is_dropped_and_no_more() {
        for (text, want) in [("1234", "1234"), ("1234\n", "1234"), ("1234\r\n", "1234"), ("12 34\n\n", "12 34\n")] {
            assert_eq!(resolve(Some(file(text, 0o600).path()), None, None, false).unwrap().expose_secret(), want);
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
        assert!(resolve(None, Some("PATH"), Some("no-credential"), false).is_ok());
    }
}
