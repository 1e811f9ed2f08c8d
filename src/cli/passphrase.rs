//! The passphrase of an encrypted private key: from a file, the environment or the terminal.

use std::path::Path;

use secrecy::SecretString;
use stationmaster_keystore::pin::{self, PinError};

use super::error::{CliError, Exit};

/// The environment variable for a PIN or passphrase.
pub(super) const PIN_VARIABLE: &str = "STATIONMASTER_PIN";

/// Reads a passphrase; `option` is the one that names the file.
pub(super) fn passphrase(file: Option<&Path>, option: &str) -> Result<SecretString, CliError> {
    if file.is_some() || std::env::var_os(PIN_VARIABLE).is_some() {
        return Ok(pin::resolve(file, Some(PIN_VARIABLE), None, false)?.read()?);
    }
    rpassword::prompt_password("Passphrase: ").map(SecretString::from).map_err(|error| {
        let kind = PinError::Prompt { reason: error.to_string() }.kind();
        CliError::new(Exit::of_io(kind), "the key is encrypted, and there is no terminal to read the passphrase from")
            .with_hint(format!("name a file that contains it: {option}"))
    })
}
