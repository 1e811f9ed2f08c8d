//! The reason that an administrator gives for a change.

use std::str::FromStr;

use thiserror::Error;

/// Maximum length of a reason, in characters.
const LIMIT: usize = 500;

/// An administrator's reason: never empty, of bounded length, one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReasonText(String);

/// Why a text is not a reason.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ReasonError {
    /// It is empty.
    #[error("a reason is needed")]
    Empty,
    /// It is too long.
    #[error("a reason has at most {LIMIT} characters")]
    Long,
    /// It contains line ends or other control characters.
    #[error("a reason holds no control characters")]
    Control,
}

impl ReasonText {
    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ReasonText {
    type Err = ReasonError;

    fn from_str(text: &str) -> Result<Self, ReasonError> {
        if text.chars().any(char::is_control) {
            return Err(ReasonError::Control);
        }
        match text.trim() {
            "" => Err(ReasonError::Empty),
            text if text.chars().count() > LIMIT => Err(ReasonError::Long),
            text => Ok(Self(text.to_owned())),
        }
    }
}
