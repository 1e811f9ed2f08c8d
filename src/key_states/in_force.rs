//! The key states of a running service: a file that is checked for changes at every use of a train key.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{KeyStates, KeyStatesError, file};
use crate::watched_file::{FileError, Followed, Snapshot};

/// The key states in force. A change of the file takes effect at the next use of a key.
#[derive(Debug)]
pub struct KeyStatesInForce {
    file: Followed<KeyStates, KeyStatesError>,
    /// Whether the file existed: its removal would make retired keys active.
    existed: AtomicBool,
}

impl KeyStatesInForce {
    /// Follows a file. Reads nothing yet.
    #[must_use]
    pub fn new(file: &Path) -> Self {
        Self { file: Followed::new(file, file::parse, broken), existed: AtomicBool::new(false) }
    }

    /// Returns the present states. A file that never existed has no entry: all train keys are active.
    ///
    /// # Errors
    /// When the file cannot be read, was removed, or is unusable and never was usable: then no train key is used.
    pub async fn current(&self) -> Result<Snapshot<KeyStates>, KeyStatesError> {
        match self.file.look().await {
            Err(KeyStatesError::File(FileError::Missing(path))) if self.existed.load(Ordering::Acquire) => {
                Err(KeyStatesError::Removed(path))
            }
            Err(KeyStatesError::File(FileError::Missing(_))) => Ok(Snapshot { value: Arc::default(), new: None, flaw: None }),
            Err(error) => {
                self.existed.store(true, Ordering::Release);
                Err(error)
            }
            Ok(read) => {
                self.existed.store(true, Ordering::Release);
                Ok(read)
            }
        }
    }
}

fn broken(error: &KeyStatesError) {
    tracing::error!(%error, hint = error.hint(), "the file of key states is invalid: its previous contents stay in force");
}

#[cfg(test)]
mod tests {
    use std::fs;

    use jiff::Timestamp;

    use crate::key_states::{in_force::*, *};

    fn state(states: &KeyStatesInForce) -> Result<KeyState, KeyStatesError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(states.current()).map(|read| read.value.state("a", Timestamp::now()))
    }

    #[test]
    fn a_change_applies_at_once_and_neither_a_broken_nor_a_removed_file_makes_a_retired_key_active() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(KEY_STATES);
        let states = KeyStatesInForce::new(&path);
        assert_eq!(state(&states).unwrap(), KeyState::Active, "without a file, keys are active");
        for meant in KeyState::ALL {
            let mut now = KeyStates::default();
            now.set("a", KeyStateEntry::new(meant, Timestamp::now())).unwrap();
            fs::write(&path, file::text(&now)).unwrap();
            assert_eq!(state(&states).unwrap(), meant);
        }
        for broken in ["", "no TOML", "version = 1\n[[key]]\n"] {
            fs::write(&path, broken).unwrap();
            assert_eq!(state(&states).unwrap(), KeyState::Retired, "{broken:?}");
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(state(&states), Err(KeyStatesError::Removed(_))));
    }
}
