//! The trusted keys of a running service: its mode, and files that are checked for changes at every use.

use std::{path::Path, sync::Arc};

use stationmaster_train::keys::PublicKey;

use super::{EntryError, FileError, KeyVerdict, OwnerKind, Pin, TrustError, TrustMode, TrustStore, file};
use crate::watched_file::{Followed, Snapshot};

/// The keys that a service trusts. The files are read again when they have changed, so that an administrator's change takes effect
/// at the next call.
#[derive(Debug)]
pub struct Trust {
    mode: TrustMode,
    /// The administrator's file.
    file: Option<FollowedStore>,
    /// Keys pinned at first sight. A file of the service's own, so that the administrator's file may be read-only for the service, and
    /// so that an administrator's decisions stay apart from keys pinned automatically.
    first_seen: Option<FollowedStore>,
}

/// A key to be pinned at first sight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPin {
    /// The kind of its owner.
    pub kind: OwnerKind,
    /// The owner's id.
    pub id: String,
    /// The key.
    pub key: PublicKey,
}

/// Why keys were not pinned.
#[derive(Debug, thiserror::Error)]
pub enum PinningError {
    /// Another key was pinned meanwhile for the id at this index.
    #[error("another key was pinned for this id meanwhile")]
    OtherKey(usize),
    /// The key at this index cannot be an entry, and why.
    #[error("number {0} of them cannot be an entry: {1}")]
    Entry(usize, EntryError),
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] TrustError),
}

type FollowedStore = Followed<TrustStore, TrustError>;

fn followed(file: &Path) -> FollowedStore {
    Followed::new(file, file::parse, |error: &TrustError| {
        tracing::error!(%error, hint = error.hint(), "the trust file is invalid: its previous contents stay in force");
    })
}

/// Treats a file that may be missing as empty.
fn or_empty(read: Result<Snapshot<TrustStore>, TrustError>) -> Result<Snapshot<TrustStore>, TrustError> {
    match read {
        Err(TrustError::File(FileError::Missing(_))) => Ok(Snapshot { value: Arc::default(), new: None, flaw: None }),
        other => other,
    }
}

impl Trust {
    /// Trusts the keys in an administrator's file. Reads nothing yet.
    #[must_use]
    pub fn pinned(file: &Path) -> Self {
        Self { mode: TrustMode::Pinned, file: Some(followed(file)), first_seen: None }
    }

    /// Trusts the keys in that file, if one is named, and keys that are seen first; those are stored in `first_seen`.
    #[must_use]
    pub fn first_use(file: &Path, first_seen: &Path) -> Self {
        Self { mode: TrustMode::FirstUse, file: Some(followed(file)), first_seen: Some(followed(first_seen)) }
    }

    /// Trusts whatever a train states.
    #[must_use]
    pub fn embedded() -> Self {
        Self { mode: TrustMode::Embedded, file: None, first_seen: None }
    }

    /// Returns the mode.
    #[must_use]
    pub fn mode(&self) -> TrustMode {
        self.mode
    }

    /// Notes that the administrator's file with this digest has been recorded: see [`TrustSnapshot::new_file`].
    pub fn acknowledge(&self, digest: [u8; 32]) {
        if let Some(file) = &self.file {
            file.acknowledge(digest);
        }
    }

    /// Returns the keys trusted now. Reads files.
    ///
    /// # Errors
    /// When a required file does not exist, or a file cannot be used and was never read before.
    pub fn current(&self) -> Result<TrustSnapshot, TrustError> {
        let mut trusted =
            TrustSnapshot { mode: self.mode, configured: Arc::default(), first_seen: Arc::default(), new: None, flaw: None };
        if let Some(file) = &self.file {
            let read = file.look_blocking();
            let read = if self.mode == TrustMode::Pinned { read? } else { or_empty(read)? };
            (trusted.configured, trusted.new, trusted.flaw) = (read.value, read.new, read.flaw);
        }
        if let Some(first_seen) = &self.first_seen {
            trusted.first_seen = or_empty(first_seen.look_blocking())?.value;
        }
        Ok(trusted)
    }

    /// Pins keys that were seen first. They are on the disk when this returns. Keys that are trusted already are skipped;
    /// either all are pinned or none.
    ///
    /// # Errors
    /// When another key was pinned for one of the ids meanwhile, or the file cannot be written.
    pub fn pin(&self, new: &[NewPin]) -> Result<(), PinningError> {
        let Some(first_seen) = &self.first_seen else { return Ok(()) };
        let configured = self.current()?.configured;
        let path = first_seen.path().to_owned();
        file::update(&path, |store| {
            for (index, NewPin { kind, id, key }) in new.iter().enumerate() {
                match verdict_of(&configured, store, *kind, id, key) {
                    KeyVerdict::Trusted => {}
                    KeyVerdict::OtherKey => return Err(PinningError::OtherKey(index)),
                    KeyVerdict::Unknown => {
                        let pin = Pin::new(id, key.clone(), Some("seen first".into()));
                        pin.and_then(|pin| store.add(*kind, pin)).map_err(|error| PinningError::Entry(index, error))?;
                        tracing::warn!(kind = kind.name(), id = ?id, fingerprint = key.fingerprint(), "pinned at first sight");
                    }
                }
            }
            Ok(())
        })
    }
}

/// The trusted keys at one moment.
#[derive(Clone, Debug)]
pub struct TrustSnapshot {
    mode: TrustMode,
    configured: Arc<TrustStore>,
    first_seen: Arc<TrustStore>,
    new: Option<[u8; 32]>,
    flaw: Option<Arc<str>>,
}

impl TrustSnapshot {
    /// Returns why the present trust file cannot be used, while its previous contents stay in force.
    #[must_use]
    pub fn flaw(&self) -> Option<&str> {
        self.flaw.as_deref()
    }

    /// Returns the SHA-256 of the administrator's file, until its present contents have been acknowledged.
    #[must_use]
    pub fn new_file(&self) -> Option<[u8; 32]> {
        self.new
    }

    /// Returns the mode.
    #[must_use]
    pub fn mode(&self) -> TrustMode {
        self.mode
    }

    /// Returns the verdict on an id and a key. If the administrator's file has any entry for the id, only that file counts.
    #[must_use]
    pub fn check_key(&self, kind: OwnerKind, id: &str, key: &PublicKey) -> KeyVerdict {
        match self.mode {
            TrustMode::Embedded => KeyVerdict::Trusted,
            TrustMode::Pinned | TrustMode::FirstUse => verdict_of(&self.configured, &self.first_seen, kind, id, key),
        }
    }

    /// Returns the administrator's entries, including the allowed masters.
    #[must_use]
    pub fn configured(&self) -> &TrustStore {
        &self.configured
    }
}

fn verdict_of(configured: &TrustStore, first_seen: &TrustStore, kind: OwnerKind, id: &str, key: &PublicKey) -> KeyVerdict {
    match configured.check_key(kind, id, key) {
        KeyVerdict::Unknown => first_seen.check_key(kind, id, key),
        known => known,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::trust::{
        current::*,
        store::tests::{key, pin},
    };

    fn put(path: &Path, id: &str, key: &PublicKey) {
        let mut store = TrustStore::default();
        store.add(OwnerKind::Creator, pin(id, key)).unwrap();
        fs::write(path, file::text(&store)).unwrap();
    }

    #[test]
    fn an_administrators_change_applies_at_once_and_a_broken_file_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trust.toml");
        let (first, second) = (key(), key());
        let trust = Trust::pinned(&path);
        assert!(matches!(trust.current(), Err(TrustError::File(FileError::Missing(_)))));
        put(&path, "c", &first);
        assert_eq!(trust.current().unwrap().check_key(OwnerKind::Creator, "c", &first), KeyVerdict::Trusted);
        put(&path, "c", &second);
        assert_eq!(trust.current().unwrap().check_key(OwnerKind::Creator, "c", &first), KeyVerdict::OtherKey);
        for broken in ["", "version = 1\n[[creator]]\n"] {
            fs::write(&path, broken).unwrap();
            assert_eq!(trust.current().unwrap().check_key(OwnerKind::Creator, "c", &second), KeyVerdict::Trusted, "{broken:?}");
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(trust.current(), Err(TrustError::File(FileError::Missing(_)))));
        fs::write(&path, "no TOML").unwrap();
        assert!(matches!(trust.current(), Err(TrustError::Syntax { .. })), "a file that never could be used is trusted");
    }

    #[test]
    fn a_key_seen_first_stays_and_an_administrators_entry_takes_precedence() {
        let directory = tempfile::tempdir().unwrap();
        let (path, seen) = (directory.path().join("trust.toml"), directory.path().join("first-seen.toml"));
        let (first, second) = (key(), key());
        let trust = Trust::first_use(&path, &seen);
        let new = |key: &PublicKey| [NewPin { kind: OwnerKind::Creator, id: "c".into(), key: key.clone() }];
        assert_eq!(trust.current().unwrap().check_key(OwnerKind::Creator, "c", &first), KeyVerdict::Unknown);
        trust.pin(&new(&first)).unwrap();
        trust.pin(&new(&first)).unwrap();
        assert!(matches!(trust.pin(&new(&second)), Err(PinningError::OtherKey(0))));
        let again = Trust::first_use(&path, &seen);
        assert_eq!(again.current().unwrap().check_key(OwnerKind::Creator, "c", &second), KeyVerdict::OtherKey);
        put(&path, "c", &second);
        let trusted = again.current().unwrap();
        assert_eq!(trusted.check_key(OwnerKind::Creator, "c", &first), KeyVerdict::OtherKey);
        assert_eq!(trusted.check_key(OwnerKind::Creator, "c", &second), KeyVerdict::Trusted);
    }

    #[test]
    fn keys_are_pinned_together_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let (path, seen) = (directory.path().join("trust.toml"), directory.path().join("first-seen.toml"));
        let trust = Trust::first_use(&path, &seen);
        let new = ["a", "b", "a"].map(|id| NewPin { kind: OwnerKind::Station, id: id.into(), key: key() });
        assert!(matches!(trust.pin(&new), Err(PinningError::OtherKey(2))), "two keys for one id were pinned at once");
        assert_eq!(trust.current().unwrap().check_key(OwnerKind::Station, "b", &new[1].key), KeyVerdict::Unknown);
    }
}
