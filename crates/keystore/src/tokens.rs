//! The tokens of a keystore. A call goes to one that has the key and answers; the others are tried when it does not.

mod member;
mod opener;
mod status;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

pub(crate) use member::Member;
pub(crate) use opener::Opener;
pub use status::TokenStatus;

use crate::{KeyDescription, KeyId, KeystoreConfig, KeystoreError, TrialLog, identities::Identities, pkcs11::Needed};

/// The tokens of a keystore, in the order of the configuration.
pub(crate) struct Tokens {
    members: Vec<Arc<Member>>,
    /// Opens tokens that are away; absent with one token, which must be there.
    opener: Option<Opener>,
    /// What the tokens show under the configured labels.
    identities: Identities,
    /// Whether a call still hung when the keystore was closed.
    stuck: AtomicBool,
}

impl Tokens {
    /// Opens the tokens. A single one must be usable. Of several, those that are away are opened when they appear, but each
    /// configured key must be on one that is there.
    pub(crate) fn open(configs: Vec<KeystoreConfig>) -> Result<Self, KeystoreError> {
        let several = configs.len() > 1;
        let identities = Identities::default();
        let members: Vec<_> = configs.into_iter().map(|config| Arc::new(Member::new(config, identities.clone()))).collect();
        let mut tokens = Self { members, opener: None, identities, stuck: AtomicBool::new(false) };
        if several {
            tokens.opener = Some(Opener::start(&tokens.members)?);
            tokens.check_keys()?;
            tokens.share_identities();
        } else {
            tokens.members.iter().try_for_each(|member| member.open(Needed::All))?;
        }
        Ok(tokens)
    }

    /// Checks that every configured key is on a token that is there, and that no label names two keys.
    fn check_keys(&self) -> Result<(), KeystoreError> {
        let mut seen: BTreeMap<String, (KeyId, &str)> = BTreeMap::new();
        for member in &self.members {
            for KeyDescription { id, label, .. } in member.keys() {
                let (first, token) = *seen.entry(label.clone()).or_insert((id, member.name()));
                if first != id {
                    let tokens = [token.to_owned(), member.name().to_owned()];
                    return Err(KeystoreError::KeysDiffer { label, tokens });
                }
            }
        }
        match self.labels().into_iter().find(|label| !seen.contains_key(*label)) {
            None => Ok(()),
            Some(label) => Err(self
                .members
                .iter()
                .find_map(|member| member.backend().err())
                .unwrap_or_else(|| KeystoreError::KeyNotFound { label: label.to_owned() })),
        }
    }

    /// Returns the tokens in the order of the configuration.
    pub(crate) fn members(&self) -> &[Arc<Member>] {
        &self.members
    }

    /// Returns the tokens in the order in which a call with the key goes to them: those that have the key and answer before those
    /// that do not, primary ones before standby, the least busy for its weight first.
    pub(crate) fn for_key(&self, id: KeyId) -> Vec<Arc<Member>> {
        let mut members = self.members.clone();
        if members.len() > 1 {
            members.sort_by_cached_key(|member| (!member.serves(id), member.is_standby(), member.load()));
        }
        members
    }

    /// Returns the configured labels, each once.
    pub(crate) fn labels(&self) -> Vec<&str> {
        let mut labels: Vec<_> = self.members.iter().flat_map(|member| member.labels()).collect();
        labels.sort_unstable();
        labels.dedup();
        labels
    }

    /// Returns the keys that a token shows, sorted by label. Of a key on several tokens, the first token's description.
    pub(crate) fn keys(&self) -> Vec<KeyDescription> {
        let mut keys: BTreeMap<String, KeyDescription> = BTreeMap::new();
        for key in self.members.iter().flat_map(|member| member.keys()) {
            match keys.entry(key.label.clone()) {
                Entry::Vacant(place) => drop(place.insert(key)),
                Entry::Occupied(mut first) if first.get().id == key.id => first.get_mut().uris.extend(key.uris),
                // Another key has the label: only calls by identity could reach it.
                Entry::Occupied(_) => {}
            }
        }
        keys.into_values().collect()
    }

    /// Tells every token the keys that the others show: it may have them under other labels.
    pub(crate) fn share_identities(&self) {
        if self.members.len() < 2 {
            return;
        }
        let keys = self.members.iter().flat_map(|member| member.keys());
        let has_own_label = |key: &KeyDescription| key.uris.iter().any(|uri| uri.object.as_ref() == Some(&key.label));
        let shown: BTreeMap<_, _> = keys.filter(has_own_label).map(|key| (key.label, key.id)).collect();
        if self.members.iter().all(|member| member.ready().is_ok()) {
            // A label that no token has any more names no key.
            self.identities.replace(shown);
        } else {
            self.identities.note(shown);
        }
    }

    /// Reports every trial from now on.
    pub(crate) fn announce_trials_to(&self, log: &Arc<dyn TrialLog>) {
        self.members.iter().for_each(|member| member.announce_trials_to(log));
    }

    /// See [`Keystore::close`](crate::Keystore::close).
    pub(crate) fn close(&self) -> bool {
        if self.stuck.load(Ordering::Acquire) {
            return false;
        }
        let opener = self.opener.as_ref().is_none_or(Opener::stop);
        // All, whatever the first answers.
        let closed = self.members.iter().map(|member| member.close()).filter(|closed| !closed).count() == 0;
        self.stuck.store(!(opener && closed), Ordering::Release);
        opener && closed
    }
}

impl Drop for Tokens {
    fn drop(&mut self) {
        let _ = self.close();
    }
}
