//! The configured keys, whether the token has them or not.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use super::{
    counters::Counters,
    keys::{Key, not_found},
    module::lock,
    objects::{self, PrivateKey},
    probe,
    rv::{RvClass, classify, translate},
    token::Token,
};
use crate::{KeyConfig, KeystoreError, Purpose, TrialLog};

/// Pause after a failed trial: each trial uses the key, and there may be thousands of callers.
const TRIAL_PAUSE: Duration = Duration::from_secs(5);

/// The configured keys by label. A key that is missing from the token keeps its entry, without a [`Key`].
pub(crate) struct KeyRing {
    allow_raw: bool,
    places: BTreeMap<String, KeySlot>,
}

struct KeySlot {
    purpose: Purpose,
    /// Empty while the token does not show the key.
    key: RwLock<Option<Arc<Key>>>,
    /// Held while a key is read and probed: a key that has reappeared is probed once, however many callers wait for it.
    trial: Mutex<Trial>,
}

#[derive(Default)]
struct Trial {
    /// The key as it was last probed. A key that reappears unchanged is not probed again.
    last: Option<Arc<Key>>,
    failed: Option<Instant>,
}

impl KeySlot {
    fn key(&self) -> Option<Arc<Key>> {
        self.key.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put(&self, key: Option<Arc<Key>>) {
        *self.key.write().unwrap_or_else(PoisonError::into_inner) = key;
    }
}

impl KeyRing {
    pub(super) fn new(configured: Vec<KeyConfig>, allow_raw: bool) -> Result<KeyRing, KeystoreError> {
        let mut places = BTreeMap::new();
        for KeyConfig { label, purpose } in configured {
            let place = KeySlot { purpose, key: RwLock::default(), trial: Mutex::default() };
            if places.insert(label.clone(), place).is_some() {
                return Err(KeystoreError::KeyUnusable { label, reason: "it is configured twice" });
            }
        }
        Ok(KeyRing { allow_raw, places })
    }

    pub(super) fn labels(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// Returns the keys that the token has, sorted by label.
    pub(crate) fn present(&self) -> Vec<Arc<Key>> {
        self.places.values().filter_map(KeySlot::key).collect()
    }

    /// Returns the labels of missing keys; of one purpose, or of all.
    pub(crate) fn missing(&self, purpose: Option<Purpose>) -> Vec<String> {
        let of_purpose = self.places.iter().filter(|(_, place)| purpose.is_none_or(|purpose| place.purpose == purpose));
        of_purpose.filter(|(_, place)| place.key().is_none()).map(|(label, _)| label.clone()).collect()
    }

    /// Returns `None` for a configured key that is missing from the token.
    pub(crate) fn known(&self, label: &str) -> Result<Option<Arc<Key>>, KeystoreError> {
        Ok(self.places.get(label).ok_or_else(|| not_found(label))?.key())
    }

    /// Notes that the token no longer has the key. A later key in its place is read like a new one.
    pub(super) fn forget(&self, gone: &Key) {
        if let Some(place) = self.places.get(gone.label())
            && place.key().is_some_and(|key| key.private.id == gone.private.id)
        {
            tracing::error!(key = gone.label(), "the key has gone from the token");
            place.put(None);
        }
    }

    /// Reads the key from the token, unless it is known by now, and probes it, unless it is the key that was probed before. A
    /// trial is reported to the log first, if there is one.
    pub(super) fn load_and_probe(
        &self,
        label: &str,
        token: &Token,
        counters: &Counters,
        log: Option<&dyn TrialLog>,
    ) -> Result<Learnt, KeystoreError> {
        let place = self.places.get(label).ok_or_else(|| not_found(label))?;
        let mut trial = lock(&place.trial);
        if let Some(key) = place.key() {
            return Ok(Learnt { key, tried: false });
        }
        let private = read(label, token)?;
        let known = trial.last.as_ref().filter(|last| last.private.is_the_same(&private)).map(|last| last.findings.clone());
        let tried = known.is_none();
        let findings = match known {
            Some(findings) => findings,
            None => {
                if trial.failed.is_some_and(|failed| failed.elapsed() < TRIAL_PAUSE) {
                    return Err(KeystoreError::Unavailable { reason: "a trial of the key failed a moment ago" });
                }
                if let Some(log) = log {
                    let uses = probe::cost(place.purpose);
                    log.about_to_try(&private.info(place.purpose, BTreeMap::new()), uses)?;
                }
                let tried = probe::try_out(token, &private, place.purpose, self.allow_raw, counters);
                trial.failed = tried.is_err().then(Instant::now);
                tried?
            }
        };
        let key = Arc::new(Key { private, purpose: place.purpose, findings });
        trial.last = Some(Arc::clone(&key));
        place.put(Some(Arc::clone(&key)));
        Ok(Learnt { key, tried })
    }
}

/// A key, and whether it was probed for this call.
pub(super) struct Learnt {
    pub(super) key: Arc<Key>,
    pub(super) tried: bool,
}

fn read(label: &str, token: &Token) -> Result<PrivateKey, KeystoreError> {
    let session = token.session().map_err(|error| translate(&error))?;
    let handles = objects::private_keys(&session, Some(label)).map_err(|error| mark_missing(&error))?;
    match handles[..] {
        [] => Err(match objects::other_kind(&session, label).map_err(|error| mark_missing(&error))? {
            Some(kind) => KeystoreError::KeyOfOtherType { label: label.to_owned(), kind },
            None => not_found(label),
        }),
        [handle] => objects::describe(&session, handle).map_err(|error| mark_missing(&error))?.ok_or_else(|| {
            KeystoreError::KeyUnusable { label: label.to_owned(), reason: "the token does not show its public half" }
        }),
        _ => Err(KeystoreError::KeyAmbiguous { label: label.to_owned() }),
    }
}

/// Converts an error. Operations cannot be repeated in part here: whatever the session lost, the caller retries.
fn mark_missing(error: &cryptoki::error::Error) -> KeystoreError {
    match classify(error) {
        RvClass::Session | RvClass::Handle | RvClass::Login => {
            KeystoreError::Unavailable { reason: "the session was lost while a key was read" }
        }
        _ => translate(error),
    }
}
