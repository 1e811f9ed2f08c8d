//! The public keys of the configured keys, as the tokens of a keystore show them: a token that has one of them under another label is
//! found to have it.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use crate::{KeyDescription, KeyId};

/// Identities by configured label. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Identities(Arc<RwLock<BTreeMap<String, KeyId>>>);

impl Identities {
    /// Returns the identity of the key that a token has shown under this label.
    pub(crate) fn of(&self, label: &str) -> Option<KeyId> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(label).copied()
    }

    pub(crate) fn all(&self) -> BTreeMap<String, KeyId> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes identities; a label that has one already gets the new one.
    pub(crate) fn note(&self, identities: impl IntoIterator<Item = (String, KeyId)>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).extend(identities);
    }

    /// Notes the keys whose labels have no identity yet.
    pub(crate) fn note_first(&self, keys: Vec<KeyDescription>) {
        let mut identities = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for KeyDescription { label, id, .. } in keys {
            identities.entry(label).or_insert(id);
        }
    }
}
