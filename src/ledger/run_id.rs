//! Ids of runs.

use std::{fmt, str::FromStr};

use uuid::Uuid;

use super::LedgerError;

/// Id of a run: a UUID, version 7 in runs that this service starts. Its text has one spelling, hyphenated and in lower case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(Uuid);

impl RunId {
    /// Makes the id of a new run.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

impl FromStr for RunId {
    type Err = LedgerError;

    /// Parses an id. A text that is none names no run.
    fn from_str(text: &str) -> Result<Self, LedgerError> {
        let id = Uuid::try_parse(text).ok().map(Self).filter(|id| id.to_string() == text);
        id.ok_or_else(|| LedgerError::NoSuchRun(text.to_owned()))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
impl RunId {
    /// Returns the id of the run that a test calls `name`: its bytes, at most 16.
    pub(crate) fn named(name: &str) -> Self {
        let mut bytes = [0; 16];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Self(Uuid::from_bytes(bytes))
    }

    /// Returns the name of a run that a test has named.
    pub(crate) fn name(self) -> String {
        String::from_utf8_lossy(self.0.as_bytes()).trim_end_matches('\0').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = RunId::generate();
        let text = id.to_string();
        assert_eq!(text.parse::<RunId>().ok(), Some(id));
        for other in
            ["", "one", &text.to_uppercase(), &text.replace('-', ""), &format!("{{{text}}}"), &format!("urn:uuid:{text}")]
        {
            assert!(matches!(other.parse::<RunId>(), Err(LedgerError::NoSuchRun(named)) if named == *other), "{other}");
        }
    }
}
