//! A PIN in a text: its first line.

use secrecy::SecretString;

use super::PinError;

/// Maximum length in bytes; anything longer is not a PIN.
pub(super) const MAX_PIN: u64 = 4096;

/// Returns the PIN of a text. `from` names its source in messages.
pub(super) fn first_line(text: &str, from: &str) -> Result<SecretString, PinError> {
    // Further lines are notes for people.
    let (bare, _) = text.split_once('\n').unwrap_or((text, ""));
    let bare = bare.strip_suffix('\r').unwrap_or(bare);
    if bare.is_empty() || bare.len() as u64 > MAX_PIN {
        return Err(PinError::Malformed { from: from.to_owned() });
    }
    Ok(SecretString::from(bare.to_owned()))
}
