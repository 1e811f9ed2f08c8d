//! Keys that a caller names itself: the general ones, and train keys that the configuration gives away by name.

use std::{collections::BTreeSet, time::Instant};

use crate::{
    keystore::{KeyInfo, KeystoreError, Purpose},
    protocol::{AuditedKeys, Caller},
};

/// A key that its caller may use raw, that is without a train. Only [`AuditedKeys::raw_key`] makes one, so a train key that the
/// configuration does not give away has no other way to the token than through an [`AdmittedTrain`](super::AdmittedTrain):
///
/// ```compile_fail,E0423
/// fn forged(key: stationmaster::keystore::KeyInfo) -> stationmaster::protocol::RawKey {
///     stationmaster::protocol::RawKey(key)
/// }
/// ```
pub struct RawKey(KeyInfo);

/// Why a key is not used raw.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RawKeyError {
    /// No grant of the caller's covers it. Answered before it is known whether there is such a key.
    #[error("this key is not granted for this call")]
    NotGranted,
    /// It is a train key, and the configuration does not give it away.
    #[error("a train key is used for trains only, unless the configuration names it in [keys] raw_use")]
    OfTrains,
    /// It is the key of the audit.
    #[error("the audit's key signs the audit's checkpoints and nothing else")]
    OfAudit,
    /// The token does not have it, or not now.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
}

impl RawKey {
    /// The key.
    #[must_use]
    pub fn info(&self) -> &KeyInfo {
        &self.0
    }
}

impl AuditedKeys {
    /// A key that this caller may use raw. What no grant covers is refused before it is known whether there is such a key.
    ///
    /// # Errors
    /// [`RawKeyError`].
    pub async fn raw_key(&self, caller: &Caller, label: &str, deadline: Option<Instant>) -> Result<RawKey, RawKeyError> {
        caller.permit().filter(|permit| permit.may_name(label)).ok_or(RawKeyError::NotGranted)?;
        let key = self.find(caller, label, deadline).await?;
        may_be_used_raw(self.raw_use(), key.purpose, &key.label)?;
        if !caller.may_use_key(label, key.purpose) {
            return Err(RawKeyError::NotGranted);
        }
        Ok(RawKey(key))
    }
}

/// Whether the configuration lets a key be used raw.
fn may_be_used_raw(raw_use: &BTreeSet<String>, purpose: Purpose, label: &str) -> Result<(), RawKeyError> {
    match purpose {
        Purpose::General => Ok(()),
        Purpose::Train if raw_use.contains(label) => Ok(()),
        Purpose::Train => Err(RawKeyError::OfTrains),
        Purpose::Audit => Err(RawKeyError::OfAudit),
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
    }
}
