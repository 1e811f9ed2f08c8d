//! Checks of the labels of new tokens and keys.

use super::KeystoreError;

/// Maximum length of a token's label, in bytes: `CK_TOKEN_INFO.label`.
const LONGEST_OF_TOKEN: usize = 32;
/// Maximum length of a key's label, in bytes. The standard sets none.
pub(super) const LONGEST_OF_KEY: usize = 255;

/// Why a text is not a valid label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
pub enum LabelFault {
    /// It is empty or too long.
    #[error("it must have 1 to {max} bytes")]
    Length {
        /// The maximum length.
        max: usize,
    },
    /// It begins or ends with a blank.
    #[error("it begins or ends with a blank, and PKCS#11 pads labels with blanks: no selection by this label would find it")]
    Blank,
    /// It contains a control character, which a terminal does not show.
    #[error("it holds a control character")]
    Control,
    /// It contains the wildcard of grants.
    #[error("it holds `*`, by which a grant means all labels")]
    Wildcard,
}

/// Checks a token's label.
///
/// # Errors
/// [`KeystoreError::Label`].
pub fn check_token(label: &str) -> Result<(), KeystoreError> {
    check(label, LONGEST_OF_TOKEN)
}

/// Checks the label of a new key.
pub(super) fn check_key(label: &str) -> Result<(), KeystoreError> {
    check(label, LONGEST_OF_KEY)
}

fn check(label: &str, max: usize) -> Result<(), KeystoreError> {
    let fault = if label.is_empty() || label.len() > max {
        LabelFault::Length { max }
    } else if label.chars().any(char::is_control) {
        LabelFault::Control
    } else if label.trim() != label {
        LabelFault::Blank
    } else if label.contains('*') {
        LabelFault::Wildcard
    } else {
        return Ok(());
    };
    Err(KeystoreError::Label { label: label.to_owned(), fault })
}
