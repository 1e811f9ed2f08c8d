//! States of train keys: which of the station's keys may be used, and for what.
//!
//! The terms are those of NIST SP 800-57 Part 1 Rev. 5 §7; *superseded* is an active key whose successor is published, and *retired* a
//! deactivated one. A train key without an entry is active. [`KeyStatesInForce`] follows the file of a running service.
//!
//! | state | a train whose own route entry names the key | raw use | published by default |
//! |---|---|---|---|
//! | pre-active | refused | refused | no |
//! | active | opened and sealed | if the configuration allows it | yes |
//! | superseded | opened and sealed | refused | no |
//! | retired | refused | refused | no |

pub mod file;
mod in_force;
mod time;

use std::{collections::BTreeMap, fmt, io, path::PathBuf};

use jiff::Timestamp;

pub use self::{in_force::KeyStatesInForce, time::parse_time};
use crate::watched_file::FileError;

/// Name of the file in the state directory.
pub const KEY_STATES: &str = "key-states.toml";
/// Maximum number of entries.
const ENTRIES: usize = 1000;
/// Maximum length of a label, and of another text, in bytes.
const TEXT: usize = 2048;

/// The state of a train key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Generated, and not yet to be used.
    PreActive,
    /// In use.
    Active,
    /// In use only for trains whose own route entry names the key.
    Superseded,
    /// Never used again.
    Retired,
}

impl KeyState {
    /// All states.
    pub const ALL: [Self; 4] = [Self::PreActive, Self::Active, Self::Superseded, Self::Retired];

    /// Returns the state's name in the file, in output and in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PreActive => "pre-active",
            Self::Active => "active",
            Self::Superseded => "superseded",
            Self::Retired => "retired",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Returns whether a key in this state opens and seals trains whose own route entry names it.
    #[must_use]
    pub fn serves_trains(self) -> bool {
        matches!(self, Self::Active | Self::Superseded)
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an administrator decided about a train key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStateEntry {
    /// The state, until `until`.
    pub state: KeyState,
    /// When the decision was made.
    pub since: Timestamp,
    /// When an active or superseded key becomes retired.
    pub until: Option<Timestamp>,
    /// The label of the key that replaces it.
    pub successor: Option<String>,
    /// The administrator's reason.
    pub reason: Option<String>,
}

impl KeyStateEntry {
    /// Returns an entry without a date, successor or reason.
    #[must_use]
    pub fn new(state: KeyState, since: Timestamp) -> Self {
        Self { state, since, until: None, successor: None, reason: None }
    }

    /// Returns the state at a time.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> KeyState {
        if self.until.is_some_and(|until| until <= now) { KeyState::Retired } else { self.state }
    }
}

/// The states of a station's train keys, by label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyStates(BTreeMap<String, KeyStateEntry>);

impl KeyStates {
    /// Returns the state of the train key with this label at a time; a key without an entry is active.
    #[must_use]
    pub fn state(&self, label: &str, now: Timestamp) -> KeyState {
        self.0.get(label).map_or(KeyState::Active, |entry| entry.at(now))
    }

    /// Returns the entry of the key with this label.
    #[must_use]
    pub fn entry(&self, label: &str) -> Option<&KeyStateEntry> {
        self.0.get(label)
    }

    /// Returns labels and entries, sorted by label.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &KeyStateEntry)> {
        self.0.iter().map(|(label, entry)| (label.as_str(), entry))
    }

    /// Sets the entry of a key. Returns the previous one.
    ///
    /// # Errors
    /// When the entry could not be read again: a text is too long, a date contradicts the state, or there are too many entries.
    pub fn set(&mut self, label: &str, entry: KeyStateEntry) -> Result<Option<KeyStateEntry>, &'static str> {
        if label.is_empty() {
            return Err("a label is not empty");
        }
        let texts = [Some(label), entry.successor.as_deref(), entry.reason.as_deref()];
        if texts.into_iter().flatten().any(|text| text.len() > TEXT) {
            return Err("a text is longer than 2048 bytes");
        }
        if entry.until.is_some() && !entry.state.serves_trains() {
            return Err("`until` belongs to an active or superseded key");
        }
        if self.0.len() >= ENTRIES && !self.0.contains_key(label) {
            return Err("there are at most 1000 entries");
        }
        Ok(self.0.insert(label.to_owned(), entry))
    }

    /// Removes the entry of a key: it is active again, as one without an entry.
    pub fn remove(&mut self, label: &str) {
        self.0.remove(label);
    }
}

/// Why the states of train keys are not known. An administrator must correct it. Names paths: for the log and the command line, not for
/// callers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyStatesError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not one of key states.
    #[error("{}:{line}: {message}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// The file was removed while the service ran: retired keys would be active.
    #[error("{} was removed", .0.display())]
    Removed(PathBuf),
}

impl KeyStatesError {
    /// Returns the system's kind of error; for invalid contents, [`io::ErrorKind::InvalidData`].
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::File(error) => error.kind(),
            Self::Syntax { .. } => io::ErrorKind::InvalidData,
            Self::Removed(_) => io::ErrorKind::NotFound,
        }
    }

    /// Returns a remedy.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::File(FileError::Unprotected(_)) => {
                "only the service's user and root may write this file, because it decides which keys may be used"
            }
            Self::File(FileError::Write { .. }) => "its directory must be writable, because a new file is written and renamed",
            Self::File(_) => "the service's user must be able to read it: use mode 0644, because it contains no secret",
            Self::Syntax { .. } | Self::Removed(_) => {
                "restore it from the newest backup of the state directory; `key list --config FILE` checks it"
            }
        }
    }
}
