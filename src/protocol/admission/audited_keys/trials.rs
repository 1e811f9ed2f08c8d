//! Records of the keys that the token shows, and of the tests of keys.

use stationmaster_keystore::{KeyDescription, KeyUses, KeystoreError, TrialLog};

use super::key_ref;
use crate::{
    audit::{Audit, Entry, Event},
    protocol::context::station_key::{KeyPurposes, StationKey},
};

/// Returns the record of the keys that the token shows and of the number of uses so far.
#[must_use]
pub fn keys_found(keys: &[StationKey], uses: KeyUses) -> Entry {
    let keys: Vec<_> = keys.iter().map(key_ref).collect();
    Entry::of(Event::KeysFound).with("keys", serde_json::to_value(keys).unwrap_or_default()).with("token", token_uses(uses))
}

/// Records key tests that run during operation. Tests at startup lie between the start record and the first record of found
/// keys.
pub(super) struct TrialsInAudit {
    pub(super) audit: Audit,
    pub(super) purposes: KeyPurposes,
}

impl TrialLog for TrialsInAudit {
    fn about_to_try(&self, key: &KeyDescription, most: KeyUses) -> Result<(), KeystoreError> {
        let key_ref = self.purposes.key(key.clone()).as_ref().map(key_ref);
        let announced = Entry { key: key_ref, ..Entry::of(Event::KeysTried) }
            .with("signatures", most.signatures)
            .with("decryptions", most.decryptions);
        self.audit.record(announced).map(drop).map_err(|error| {
            tracing::error!(key = key.label, %error, "the key is not tried, for that cannot be recorded");
            KeystoreError::Unavailable { reason: "a trial of the key cannot be recorded" }
        })
    }

    fn found(&self, keys: &[KeyDescription], uses: KeyUses) {
        let keys: Vec<_> = keys.iter().filter_map(|key| self.purposes.key(key.clone())).collect();
        if let Err(error) = self.audit.record(keys_found(&keys, uses)) {
            tracing::error!(%error, "which keys the token shows could not be recorded");
        }
    }
}

/// Returns the token's own count in the form of records.
pub(super) fn token_uses(uses: KeyUses) -> serde_json::Value {
    serde_json::json!({ "signatures": uses.signatures, "decryptions": uses.decryptions })
}
