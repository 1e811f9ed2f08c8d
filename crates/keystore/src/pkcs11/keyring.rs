//! The configured keys, whether the token has them or not.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use cryptoki::session::Session;

use serde::{Deserialize, Serialize};

use super::{
    attempt_error::{AttemptError, abandon},
    counters::Counters,
    family::Family,
    keys::{Key, not_found},
    module::lock,
    objects::{self, Described, Found, PrivateKey},
    probe::{self, AllowedRaw},
    token::Token,
};
use crate::{KeyConfig, KeyId, KeyType, KeyUsage, KeystoreError, Pkcs11Uri, TrialLog, identities::Identities, key::OtherKey};

/// Pause after a failed trial: each trial uses the key, and there may be thousands of callers.
const TRIAL_PAUSE: Duration = Duration::from_secs(5);

/// Pause between searches for a key under other labels: each reads every key of the token.
const SEARCH_PAUSE: Duration = Duration::from_secs(60);

/// Which of the configured keys a token must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Needed {
    /// All: it is the only token.
    All,
    /// One at least: other tokens may have the others.
    Any,
}

/// The configured keys by label. A key that is missing from the token keeps its entry, without a [`Key`].
pub(crate) struct KeyRing {
    allowed: AllowedRaw,
    /// What the tokens show under the configured labels.
    identities: Identities,
    slots: BTreeMap<String, KeySlot>,
}

struct KeySlot {
    /// `CKA_ID`, where the configuration names it.
    id: Option<Vec<u8>>,
    usage: KeyUsage,
    current: RwLock<Current>,
    /// Held while a key is read and probed: a key that has reappeared is probed once, however many callers wait for it.
    trial: Mutex<Trial>,
}

#[derive(Default)]
struct Current {
    /// Empty while the token does not show the key.
    key: Option<Arc<Key>>,
    /// The key's identity when the token last showed it.
    id: Option<KeyId>,
}

#[derive(Default)]
struct Trial {
    /// The key as it was last probed. A key that reappears unchanged is not probed again.
    last: Option<Arc<Key>>,
    failed: Option<Instant>,
    /// The key that the token did not have under any label, and when it was searched.
    absent: Option<(KeyId, Instant)>,
}

impl KeySlot {
    fn key(&self) -> Option<Arc<Key>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).key.clone()
    }

    fn put(&self, key: Option<Arc<Key>>) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        current.id = key.as_ref().map(|key| key.id()).or(current.id);
        current.key = key;
    }

    /// Returns whether the usage has a scheme for keys of this family.
    fn may_use(&self, found: &Found) -> bool {
        match found.family {
            Family::Rsa => self.usage.suits(KeyType::Rsa),
            Family::Curve => self.usage.suits(KeyType::EcP256) || self.usage.suits(KeyType::EcP384),
            Family::Edwards => self.usage.suits(KeyType::Ed25519),
        }
    }

    /// Returns whether the token has the key under this label, or had it when it last showed one.
    fn is_of(&self, id: KeyId) -> bool {
        self.current.read().unwrap_or_else(PoisonError::into_inner).id == Some(id)
    }
}

impl KeyRing {
    pub(super) fn new(configured: &[KeyConfig], allowed: AllowedRaw, identities: Identities) -> Result<KeyRing, KeystoreError> {
        let mut slots = BTreeMap::new();
        for KeyConfig { label, id, usage } in configured {
            let (label, usage) = (label.clone(), *usage);
            let slot = KeySlot { id: id.clone(), usage, current: RwLock::default(), trial: Mutex::default() };
            if slots.insert(label.clone(), slot).is_some() {
                return Err(KeystoreError::KeyUnusable { label, reason: "it is configured twice" });
            }
        }
        Ok(KeyRing { allowed, identities, slots })
    }

    pub(super) fn labels(&self) -> impl Iterator<Item = &str> {
        self.slots.keys().map(String::as_str)
    }

    /// Returns the keys that the token has, sorted by label.
    pub(crate) fn present(&self) -> Vec<Arc<Key>> {
        self.slots.values().filter_map(KeySlot::key).collect()
    }

    /// Returns the identities of the keys that the token showed last, also of those that are missing now.
    pub(crate) fn last_shown(&self) -> Vec<KeyId> {
        let ids = self.slots.values().map(|slot| slot.current.read().unwrap_or_else(PoisonError::into_inner).id);
        ids.flatten().collect()
    }

    /// Returns the labels of missing keys.
    pub(crate) fn missing(&self) -> Vec<String> {
        self.slots.iter().filter(|(_, slot)| slot.key().is_none()).map(|(label, _)| label.clone()).collect()
    }

    /// Returns the keys with this identity that the token has. There are several if it has one key pair under several labels.
    pub(crate) fn with_id(&self, id: KeyId) -> Vec<Arc<Key>> {
        self.slots.values().filter_map(KeySlot::key).filter(|key| key.id() == id).collect()
    }

    /// Returns the labels of the keys with this identity, also of those that are missing now.
    pub(crate) fn labels_of(&self, id: KeyId) -> Vec<String> {
        self.slots.iter().filter(|(_, slot)| slot.is_of(id)).map(|(label, _)| label.clone()).collect()
    }

    /// Returns `None` for a configured key that is missing from the token.
    pub(crate) fn known(&self, label: &str) -> Result<Option<Arc<Key>>, KeystoreError> {
        Ok(self.slots.get(label).ok_or_else(|| not_found(label))?.key())
    }

    /// Notes that the token no longer has the key. A later key in its place is read like a new one.
    pub(super) fn forget(&self, missing: &Key) {
        if let Some(slot) = self.slots.get(missing.label())
            && slot.key().is_some_and(|key| key.private.description.cka_id == missing.private.description.cka_id)
        {
            tracing::error!(key = missing.label(), "the key has gone from the token");
            slot.put(None);
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
    ) -> Result<Loaded, AttemptError> {
        let slot = self.slots.get(label).ok_or_else(|| not_found(label))?;
        let mut trial = lock(&slot.trial);
        if let Some(key) = slot.key() {
            return Ok(Loaded { key, tried: false });
        }
        let private = self.read(label, slot, &mut trial.absent, token)?;
        let known = trial
            .last
            .as_ref()
            .filter(|last| last.private.description == private.description)
            .map(|last| last.capabilities.clone());
        let tried = known.is_none();
        let capabilities = match known {
            Some(capabilities) => capabilities,
            None => {
                if trial.failed.is_some_and(|failed| failed.elapsed() < TRIAL_PAUSE) {
                    return Err(KeystoreError::Unavailable { reason: "a trial of the key failed a moment ago" }.into());
                }
                if let Some(log) = log {
                    let cost = probe::cost(slot.usage, private.description.key_type, self.allowed, token.quirk());
                    log.about_to_try(&private.description, cost)?;
                }
                let tried = probe::probe(token, &private, slot.usage, self.allowed, counters);
                trial.failed = tried.is_err().then(Instant::now);
                tried?
            }
        };
        let key = Arc::new(Key { private, usage: slot.usage, capabilities });
        trial.last = Some(Arc::clone(&key));
        slot.put(Some(Arc::clone(&key)));
        Ok(Loaded { key, tried })
    }

    /// Reads the key of this identity, which gets the configured label, whatever its own is.
    fn under_any_label(
        &self,
        session: &Session,
        label: &str,
        id: KeyId,
        slot: &KeySlot,
        token: &Pkcs11Uri,
    ) -> Result<Option<PrivateKey>, AttemptError> {
        for found in objects::private_keys(session, None, None)?.into_iter().filter(|found| slot.may_use(found)) {
            if let Described::Key(mut key) = objects::describe(session, found, token)?
                && key.description.id == id
                // A key with a configured label of its own is that one.
                && !self.slots.contains_key(&key.object_label)
            {
                tracing::info!(key = label, label = key.object_label, "the token has the key under another label");
                label.clone_into(&mut key.description.label);
                return Ok(Some(*key));
            }
        }
        Ok(None)
    }

    /// Reads a key in a session of its own: the one with the label, else one that another token shows under this label.
    fn read(
        &self,
        label: &str,
        slot: &KeySlot,
        absent: &mut Option<(KeyId, Instant)>,
        token: &Token,
    ) -> Result<PrivateKey, AttemptError> {
        let session = token.session()?;
        let read = match read_in(&session, label, slot, token.uri()) {
            Err(AttemptError::Decided(KeystoreError::KeyNotFound { .. })) => {
                let is_absent = |id| absent.is_some_and(|(key, at)| key == id && at.elapsed() < SEARCH_PAUSE);
                match self.identities.of(label).filter(|id| !is_absent(*id)) {
                    None => Err(not_found(label).into()),
                    Some(id) => self.under_any_label(&session, label, id, slot, token.uri()).and_then(|found| {
                        *absent = found.is_none().then(|| (id, Instant::now()));
                        found.ok_or_else(|| not_found(label).into())
                    }),
                }
            }
            other => other,
        };
        match read {
            Err(AttemptError::Token(error)) => {
                abandon(session, &error);
                Err(error.into())
            }
            other => other,
        }
    }
}

/// A key, and whether it was probed for this call.
pub(super) struct Loaded {
    pub(super) key: Arc<Key>,
    pub(super) tried: bool,
}

fn read_in(session: &Session, label: &str, slot: &KeySlot, token: &Pkcs11Uri) -> Result<PrivateKey, AttemptError> {
    let mut found = objects::private_keys(session, Some(label), slot.id.as_deref())?;
    // A key of a type that the usage has no scheme for is not the meant one, if there is another.
    if found.len() > 1 && found.iter().any(|key| slot.may_use(key)) {
        found.retain(|key| slot.may_use(key));
    }
    match found[..] {
        [] => Err(match objects::other_kind(session, label)? {
            Some(kind) => KeystoreError::KeyOfOtherType { label: label.to_owned(), kind }.into(),
            None => not_found(label).into(),
        }),
        [found] => match objects::describe(session, found, token)? {
            Described::Key(key) => Ok(*key),
            Described::Other(OtherKey { label, kind }) => Err(KeystoreError::KeyOfOtherType { label, kind }.into()),
            Described::WithoutPublicHalf => {
                Err(KeystoreError::KeyUnusable { label: label.to_owned(), reason: "the token does not show its public half" }
                    .into())
            }
        },
        _ => Err(KeystoreError::KeyAmbiguous { label: label.to_owned() }.into()),
    }
}
