//! Entries of the trust file: trusted keys by owner, and allowed masters.

use jiff::civil::Date;
use stationmaster_train::{
    config::Id,
    keys::{KeyError, PublicKey},
};
use thiserror::Error;

use super::{Master, MasterError};

/// Maximum length of an id or comment, in bytes.
const TEXT_LIMIT: usize = 256;

/// The kind of a key's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OwnerKind {
    /// A creator of trains, with one key.
    Creator,
    /// A station, with several keys while it changes from one to the next.
    Station,
}

impl OwnerKind {
    /// Returns the kind's name in files and commands.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Creator => "creator",
            Self::Station => "station",
        }
    }
}

/// A trusted key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The owner's id, in the spelling that train configs use: train_lib reads `"0123"` as the number 123.
    pub id: String,
    /// The key.
    pub key: PublicKey,
    /// When it was added.
    pub added: Option<Date>,
    /// A note for people.
    pub comment: Option<String>,
}

/// The store's verdict on an id and a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyVerdict {
    /// The id is known, with this key.
    Trusted,
    /// The id is not known.
    Unknown,
    /// The id is known, with another key.
    OtherKey,
}

/// Why an entry is invalid. The administrator must correct it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EntryError {
    /// An id or comment that is empty, too long or holds control characters.
    #[error("{0} must be 1 to {TEXT_LIMIT} bytes without control characters")]
    Text(&'static str),
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The stated fingerprint belongs to another key.
    #[error("the fingerprint does not match the key, whose fingerprint is {0}")]
    Fingerprint(String),
    /// The date is invalid.
    #[error("`added` must be a date, as 2026-11-24")]
    Date,
    /// The same entry exists already.
    #[error("the trust file already has this entry")]
    Duplicate,
    /// The creator has another key.
    #[error("this creator has another key, {0}; a creator has only one")]
    SecondKey(String),
    /// The master is invalid.
    #[error(transparent)]
    Master(#[from] MasterError),
}

/// Returns the spelling of an id that train configs use: train_lib reads `"0123"` as the number 123.
fn canonical_id(text: &str) -> String {
    Id::from_text(text.to_owned()).to_string()
}

impl Pin {
    /// Creates an entry with today's date. Converts the id to its canonical spelling.
    ///
    /// # Errors
    /// When id or comment is invalid.
    pub fn new(id: &str, key: PublicKey, comment: Option<String>) -> Result<Self, EntryError> {
        let today = jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::now()).date();
        Self::on(id, key, Some(today), comment)
    }

    pub(super) fn on(id: &str, key: PublicKey, added: Option<Date>, comment: Option<String>) -> Result<Self, EntryError> {
        let id = canonical_id(plain("id", id)?);
        if let Some(comment) = &comment {
            plain("comment", comment)?;
        }
        Ok(Self { id, key, added, comment })
    }
}

pub(super) fn plain<'t>(what: &'static str, text: &'t str) -> Result<&'t str, EntryError> {
    let usable = !text.is_empty() && text.len() <= TEXT_LIMIT && !text.chars().any(char::is_control);
    if usable { Ok(text) } else { Err(EntryError::Text(what)) }
}

/// The entries of a trust file, sorted by id, then fingerprint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustStore {
    creators: Vec<Pin>,
    stations: Vec<Pin>,
    masters: Vec<Master>,
}

impl TrustStore {
    /// Returns the trusted keys of a kind.
    #[must_use]
    pub fn pins(&self, kind: OwnerKind) -> &[Pin] {
        match kind {
            OwnerKind::Creator => &self.creators,
            OwnerKind::Station => &self.stations,
        }
    }

    /// Returns the allowed master images.
    #[must_use]
    pub fn masters(&self) -> &[Master] {
        &self.masters
    }

    /// Returns the keys of an id, which is converted to its canonical spelling.
    pub fn keys_of(&self, kind: OwnerKind, id: &str) -> impl Iterator<Item = &Pin> {
        let id = canonical_id(id);
        self.pins(kind).iter().filter(move |pin| pin.id == id)
    }

    /// Returns the verdict on an id and a key.
    #[must_use]
    pub fn check_key(&self, kind: OwnerKind, id: &str, key: &PublicKey) -> KeyVerdict {
        let mut known = false;
        for pin in self.keys_of(kind, id) {
            if pin.key == *key {
                return KeyVerdict::Trusted;
            }
            known = true;
        }
        if known { KeyVerdict::OtherKey } else { KeyVerdict::Unknown }
    }

    /// Adds a key.
    ///
    /// # Errors
    /// When the entry exists, or a creator has another key.
    pub fn add(&mut self, kind: OwnerKind, pin: Pin) -> Result<(), EntryError> {
        if let Some(other) = self.keys_of(kind, &pin.id).find(|known| kind == OwnerKind::Creator || known.key == pin.key) {
            return Err(if other.key == pin.key {
                EntryError::Duplicate
            } else {
                EntryError::SecondKey(other.key.fingerprint())
            });
        }
        let pins = self.pins_mut(kind);
        let order = |pin: &Pin| (pin.id.clone(), pin.key.fingerprint());
        let at = pins.partition_point(|known| order(known) < order(&pin));
        pins.insert(at, pin);
        Ok(())
    }

    /// Adds a master image.
    ///
    /// # Errors
    /// When the entry exists.
    pub fn add_master(&mut self, master: Master) -> Result<(), EntryError> {
        let order = |master: &Master| master.reference();
        match self.masters.binary_search_by_key(&order(&master), order) {
            Ok(_) => Err(EntryError::Duplicate),
            Err(at) => {
                self.masters.insert(at, master);
                Ok(())
            }
        }
    }

    /// Removes keys of an id: the one with this fingerprint, or all. Returns the removed keys.
    pub fn remove(&mut self, kind: OwnerKind, id: &str, fingerprint: Option<&str>) -> Vec<Pin> {
        let id = canonical_id(id);
        let goes = |pin: &Pin| pin.id == id && fingerprint.is_none_or(|wanted| pin.key.fingerprint() == wanted);
        self.pins_mut(kind).extract_if(.., |pin| goes(pin)).collect()
    }

    /// Removes a master image. Returns whether it existed.
    pub fn remove_master(&mut self, reference: &str) -> bool {
        let before = self.masters.len();
        self.masters.retain(|master| master.reference() != reference);
        self.masters.len() < before
    }

    fn pins_mut(&mut self, kind: OwnerKind) -> &mut Vec<Pin> {
        match kind {
            OwnerKind::Creator => &mut self.creators,
            OwnerKind::Station => &mut self.stations,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use openssl::rsa::Rsa;

    use super::*;

    pub(crate) fn key() -> PublicKey {
        let rsa = Rsa::generate(2048).unwrap();
        PublicKey::from_spki_der(&rsa.public_key_to_der().unwrap()).unwrap()
    }

    pub(crate) fn pin(id: &str, key: &PublicKey) -> Pin {
        Pin::new(id, key.clone(), None).unwrap()
    }

    #[test]
    fn a_creator_has_one_key_and_a_station_may_have_two() {
        let (old, new) = (key(), key());
        let mut store = TrustStore::default();
        for kind in [OwnerKind::Creator, OwnerKind::Station] {
            assert_eq!(store.check_key(kind, "x", &old), KeyVerdict::Unknown);
            store.add(kind, pin("x", &old)).unwrap();
            assert_eq!(store.add(kind, pin("x", &old)), Err(EntryError::Duplicate));
            assert_eq!(
                (store.check_key(kind, "x", &old), store.check_key(kind, "x", &new)),
                (KeyVerdict::Trusted, KeyVerdict::OtherKey)
            );
        }
        assert_eq!(store.add(OwnerKind::Creator, pin("x", &new)), Err(EntryError::SecondKey(old.fingerprint())));
        store.add(OwnerKind::Station, pin("x", &new)).unwrap();
        assert_eq!(store.check_key(OwnerKind::Station, "x", &new), KeyVerdict::Trusted);
        assert_eq!(store.check_key(OwnerKind::Creator, "x", &new), KeyVerdict::OtherKey);
        assert_eq!(store.remove(OwnerKind::Station, "x", Some(&old.fingerprint())).len(), 1);
        assert_eq!(store.check_key(OwnerKind::Station, "x", &old), KeyVerdict::OtherKey);
    }

    #[test]
    fn ids_are_compared_as_trains_come_to_spell_them() {
        let key = key();
        let mut store = TrustStore::default();
        store.add(OwnerKind::Creator, pin("0123", &key)).unwrap();
        for spelling in ["123", "0123", " 123 ", "1_23"] {
            assert_eq!(store.check_key(OwnerKind::Creator, spelling, &key), KeyVerdict::Trusted, "{spelling:?}");
        }
        assert_eq!(store.check_key(OwnerKind::Creator, "1234", &key), KeyVerdict::Unknown);
        assert_eq!(store.add(OwnerKind::Creator, pin("123", &key)), Err(EntryError::Duplicate));
    }

    #[test]
    fn ids_that_could_deceive_a_reader_are_refused() {
        let key = key();
        for id in ["", "a\nb", "\u{1b}[2J", &"x".repeat(TEXT_LIMIT + 1)] {
            assert_eq!(Pin::new(id, key.clone(), None), Err(EntryError::Text("id")), "{id:?}");
        }
        assert_eq!(Pin::new("x", key, Some("a\rb".into())), Err(EntryError::Text("comment")));
    }
}
