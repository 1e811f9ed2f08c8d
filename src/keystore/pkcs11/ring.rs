//! The configured keys, each in its place, whether the token has it or not.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::counters::Counters;
use super::fault::{Fault, classify, translate};
use super::keys::{Key, not_found};
use super::objects::{self, PrivateKey};
use super::probe;
use super::token::Token;
use crate::keystore::{KeyConfig, KeystoreError, Purpose};

/// Empty when the key has gone from the token.
type Place = RwLock<Option<Arc<Key>>>;

/// The configured keys by label. A key that has gone from the token keeps its place, without a [`Key`].
pub(super) struct KeyRing {
    allow_raw: bool,
    places: BTreeMap<String, (Purpose, Place)>,
}

impl KeyRing {
    pub(super) fn new(configured: Vec<KeyConfig>, allow_raw: bool) -> Result<KeyRing, KeystoreError> {
        let mut places = BTreeMap::new();
        for KeyConfig { label, purpose } in configured {
            if places.insert(label.clone(), (purpose, RwLock::new(None))).is_some() {
                return Err(KeystoreError::KeyUnusable { label, reason: "it is configured twice" });
            }
        }
        Ok(KeyRing { allow_raw, places })
    }

    pub(super) fn labels(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// The keys that are there, sorted by label.
    pub(super) fn present(&self) -> Vec<Arc<Key>> {
        self.places.keys().filter_map(|label| self.known(label).ok().flatten()).collect()
    }

    /// Labels of the keys of a purpose that are not there.
    pub(super) fn missing(&self, purpose: Purpose) -> Vec<String> {
        let of_purpose = self.places.iter().filter(|(_, (of, _))| *of == purpose).map(|(label, _)| label);
        of_purpose.filter(|label| self.known(label).is_ok_and(|key| key.is_none())).cloned().collect()
    }

    /// `None` for a configured key that has gone from the token.
    pub(super) fn known(&self, label: &str) -> Result<Option<Arc<Key>>, KeystoreError> {
        let (_, place) = self.places.get(label).ok_or_else(|| not_found(label))?;
        Ok(place.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// The key is not in the token any more. A later one in its place is read and tried like a new one.
    pub(super) fn forget(&self, gone: &Key) {
        if let Some((_, place)) = self.places.get(gone.label()) {
            let mut place = place.write().unwrap_or_else(PoisonError::into_inner);
            if place.as_ref().is_some_and(|key| key.private.id == gone.private.id) {
                tracing::error!(key = gone.label(), "the key has gone from the token");
                *place = None;
            }
        }
    }

    /// Reads and tries the key from the token, unless it is known by now.
    pub(super) fn learn(&self, label: &str, token: &Token, counters: &Counters) -> Result<Arc<Key>, KeystoreError> {
        let (purpose, place) = self.places.get(label).ok_or_else(|| not_found(label))?;
        // Held during the trial: a key that came back is tried once, however many callers wait for it.
        let mut place = place.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = &*place {
            return Ok(Arc::clone(key));
        }
        let private = read(label, token)?;
        let findings = probe::try_out(token, &private, self.allow_raw, counters)?;
        let key = Arc::new(Key { private, purpose: *purpose, findings });
        *place = Some(Arc::clone(&key));
        Ok(key)
    }
}

fn read(label: &str, token: &Token) -> Result<PrivateKey, KeystoreError> {
    let session = token.session().map_err(|error| translate(&error))?;
    let handles = objects::private_keys(&session, Some(label)).map_err(|error| lost(&error))?;
    match handles[..] {
        [] => Err(not_found(label)),
        [handle] => objects::describe(&session, handle).map_err(|error| lost(&error))?.ok_or_else(|| {
            KeystoreError::KeyUnusable { label: label.to_owned(), reason: "the token does not show its public half" }
        }),
        _ => Err(KeystoreError::KeyAmbiguous { label: label.to_owned() }),
    }
}

/// Here no operation can be repeated piecemeal: whatever the session lost, the caller comes again.
fn lost(error: &cryptoki::error::Error) -> KeystoreError {
    match classify(error) {
        Fault::Session | Fault::Handle | Fault::Login => {
            KeystoreError::Unavailable { reason: "the session was lost while a key was read" }
        }
        _ => translate(error),
    }
}
