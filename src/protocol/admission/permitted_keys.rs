//! Keys with the proof that they may be used. [`AuditedKeys`](super::audited_keys::AuditedKeys) accepts no others.

use stationmaster_keystore::KeyInfo;

/// The station's key on the route of an admitted train. Only the admission check makes one:
///
/// ```compile_fail,E0423
/// fn forged(key: stationmaster_keystore::KeyInfo) -> stationmaster::protocol::TrainKey {
///     stationmaster::protocol::TrainKey(key)
/// }
/// ```
pub struct TrainKey(KeyInfo);

/// A key that its caller may use raw, that is without a train. Only [`AuditedKeys::raw_key`] makes one, so a train key that the
/// configuration does not release can be used only as a [`TrainKey`]:
///
/// ```compile_fail,E0423
/// fn forged(key: stationmaster_keystore::KeyInfo) -> stationmaster::protocol::RawKey {
///     stationmaster::protocol::RawKey(key)
/// }
/// ```
///
/// ```
/// fn description(key: &stationmaster::protocol::RawKey) -> &stationmaster_keystore::KeyInfo {
///     key.info()
/// }
/// ```
///
/// [`AuditedKeys::raw_key`]: super::audited_keys::AuditedKeys::raw_key
pub struct RawKey(KeyInfo);

impl TrainKey {
    /// Makes the proof: the admission check has found this key on the train's route.
    pub(super) fn admitted(key: KeyInfo) -> Self {
        Self(key)
    }

    /// Returns the key's description.
    #[must_use]
    pub fn info(&self) -> &KeyInfo {
        &self.0
    }
}

impl RawKey {
    /// Makes the proof: grants and configuration allow the raw use of this key.
    pub(super) fn permitted(key: KeyInfo) -> Self {
        Self(key)
    }

    /// Returns the key's description.
    #[must_use]
    pub fn info(&self) -> &KeyInfo {
        &self.0
    }
}
