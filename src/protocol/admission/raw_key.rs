//! Raw use of keys that a caller names: general-purpose keys, and train keys that the configuration releases by name.

use std::{collections::BTreeSet, time::Instant};

use stationmaster_keystore::KeystoreError;

use super::{
    audited_keys::{AuditedKeys, in_force::Way},
    permitted_keys::RawKey,
};
use crate::{
    authz::Purpose,
    protocol::context::{caller::Caller, key_errors::KeyUseError},
};

/// Reasons to refuse the raw use of a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RawKeyError {
    /// No grant of the caller covers the key. Returned before the existence of the key is checked.
    #[error("this key is not granted for this call")]
    NotGranted,
    /// The key is a train key, and the configuration does not release it.
    #[error("a train key is used for trains only, unless the configuration names it in [keys] raw_use")]
    OfTrains,
    /// The key signs the audit's checkpoints.
    #[error("the audit's key signs the audit's checkpoints and nothing else")]
    OfAudit,
    /// The state of the train key does not allow its raw use, or is not known.
    #[error(transparent)]
    State(KeyUseError),
    /// The token does not have the key, or is not available.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
}

impl AuditedKeys {
    /// Returns a key that this caller may use raw. A label that no grant covers is refused before the existence of the key is
    /// checked.
    ///
    /// # Errors
    /// [`RawKeyError`].
    pub async fn raw_key(&self, caller: &Caller, label: &str, deadline: Option<Instant>) -> Result<RawKey, RawKeyError> {
        caller.permit().filter(|permit| permit.may_name(label)).ok_or(RawKeyError::NotGranted)?;
        let key = self.find(caller, label, deadline).await?;
        may_be_used_raw(self.raw_use(), key.purpose, key.label())?;
        if !caller.may_use_key(label, key.purpose) {
            return Err(RawKeyError::NotGranted);
        }
        self.check_in_force(&key, Way::Raw).await.map_err(RawKeyError::State)?;
        Ok(RawKey::permitted(key))
    }
}

/// Checks whether the configuration allows the raw use of a key.
fn may_be_used_raw(raw_use: &BTreeSet<String>, purpose: Purpose, label: &str) -> Result<(), RawKeyError> {
    match purpose {
        Purpose::General => Ok(()),
        Purpose::Train if raw_use.contains(label) => Ok(()),
        Purpose::Train => Err(RawKeyError::OfTrains),
        Purpose::Audit => Err(RawKeyError::OfAudit),
        // Callers do not learn of it: the search has not found it for them.
        Purpose::Tls => Err(RawKeyError::NotGranted),
    }
}

#[cfg(test)]
mod tests {
    use crate::protocol::admission::raw_key::*;

    #[test]
    fn a_train_key_is_used_raw_only_when_it_is_named_and_the_audits_key_never() {
        let named = BTreeSet::from(["named".to_owned()]);
        assert!(may_be_used_raw(&named, Purpose::General, "any").is_ok());
        assert!(may_be_used_raw(&named, Purpose::Train, "named").is_ok());
        assert!(matches!(may_be_used_raw(&named, Purpose::Train, "other"), Err(RawKeyError::OfTrains)));
        assert!(matches!(may_be_used_raw(&BTreeSet::new(), Purpose::Train, "named"), Err(RawKeyError::OfTrains)));
        assert!(matches!(may_be_used_raw(&named, Purpose::Audit, "named"), Err(RawKeyError::OfAudit)));
        assert!(matches!(may_be_used_raw(&named, Purpose::Tls, "named"), Err(RawKeyError::NotGranted)));
    }
}
