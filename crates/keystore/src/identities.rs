//! The public keys of the configured keys, as the tokens of a keystore show them: a token that has one of them under another label is
//! found to have it.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use crate::KeyId;

/// Identities by configured label; none where there is one token. Clones share them.
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

    /// Replaces all identities.
    pub(crate) fn replace(&self, identities: BTreeMap<String, KeyId>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = identities;
    }
}
