//! Counts uses of keys, in bounded memory whatever a log contains.

use std::collections::BTreeMap;

use super::{Entry, bound::shorten};

/// Maximum number of keys and principals that are counted separately; further ones are summed up.
const APART: usize = 4096;
/// Maximum number of announced uses without an outcome: more than a service has at once.
const OPEN: usize = 1 << 17;
/// The longest name that is kept whole, in bytes.
const NAME_BYTES: usize = 256;

/// Name under which uses of further keys and by further principals are summed up.
pub(super) const OTHERS: &str = "(others)";

/// Label and fingerprint of a key.
pub type KeyName = (String, String);

/// Uses of a key by one principal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// Uses that were announced.
    pub announced: u64,
    /// Of these, the uses that succeeded.
    pub succeeded: u64,
    /// Of these, the uses that failed.
    pub failed: u64,
}

/// Counted uses, and those whose outcome is not known yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Counter {
    places: BTreeMap<(KeyName, String), usize>,
    uses: Vec<Uses>,
    open: BTreeMap<u64, usize>,
}

impl Counter {
    /// Counts a use that was announced in record `seq`.
    pub(super) fn announced(&mut self, seq: u64, entry: &Entry) {
        let name = |name: &str| {
            let mut name = name.to_owned();
            shorten(&mut name, NAME_BYTES);
            name
        };
        let key = entry.key.as_ref().map(|key| (name(&key.label), name(&key.fingerprint))).unwrap_or_default();
        let mut key = (key, name(entry.principal.as_deref().unwrap_or_default()));
        if self.places.len() >= APART && !self.places.contains_key(&key) {
            key = ((OTHERS.to_owned(), String::new()), OTHERS.to_owned());
        }
        let next = self.uses.len();
        let place = *self.places.entry(key).or_insert(next);
        if place == next {
            self.uses.push(Uses::default());
        }
        self.uses[place].announced += 1;
        self.open.insert(seq, place);
        if self.open.len() > OPEN {
            self.open.pop_first();
        }
    }

    /// Counts the outcome of the use announced there; returns false when none was announced.
    #[must_use]
    pub(super) fn ended(&mut self, of: Option<u64>, outcome: Option<&str>) -> bool {
        let Some(place) = of.and_then(|of| self.open.remove(&of)) else { return false };
        match outcome {
            Some("ok") => self.uses[place].succeeded += 1,
            _ => self.uses[place].failed += 1,
        }
        true
    }

    /// Forgets open uses, because the process that would have recorded their outcome has ended.
    pub(super) fn restarted(&mut self) {
        self.open.clear();
    }

    pub(super) fn take(self) -> BTreeMap<KeyName, BTreeMap<String, Uses>> {
        let mut by_key = BTreeMap::<KeyName, BTreeMap<String, Uses>>::new();
        for ((key, principal), place) in self.places {
            by_key.entry(key).or_default().insert(principal, self.uses[place]);
        }
        by_key
    }
}
