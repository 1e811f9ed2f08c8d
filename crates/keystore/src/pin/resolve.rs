//! Finds the source of a PIN: a file, a systemd credential, the environment or a terminal.

use std::path::{Path, PathBuf};

use stationmaster_system::{files::words, memory::take_variable};
use zeroize::Zeroizing;

use super::{PinError, PinSource, first_line::first_line};

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
        return PinSource::keep(&first_line(value, &variable(name))?);
    }
    if prompt {
        let typed = rpassword::prompt_password("User PIN: ").map_err(|error| PinError::Prompt { reason: words(&error) })?;
        return PinSource::keep(&first_line(&Zeroizing::new(typed), "the terminal")?);
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
