//! Keys with the proof that they may be used. [`AuditedKeys`](super::audited_keys::AuditedKeys) accepts no others.

use crate::protocol::context::station_key::StationKey;

/// The station's key on the route of an admitted train. Only the admission check makes one:
///
/// ```compile_fail,E0423
/// fn forged(key: stationmaster::protocol::StationKey) -> stationmaster::protocol::TrainKey {
///     stationmaster::protocol::TrainKey(key)
/// }
/// ```
pub struct TrainKey(StationKey);

/// A key that its caller may use raw, that is without a train. Only [`AuditedKeys::raw_key`] makes one, so a train key that the
/// configuration does not release can be used only as a [`TrainKey`]:
///
/// ```compile_fail,E0423
/// fn forged(key: stationmaster::protocol::StationKey) -> stationmaster::protocol::RawKey {
///     stationmaster::protocol::RawKey(key)
/// }
/// ```
///
/// ```
/// fn description(key: &stationmaster::protocol::RawKey) -> &stationmaster::protocol::StationKey {
///     key.key()
/// }
/// ```
///
/// [`AuditedKeys::raw_key`]: super::audited_keys::AuditedKeys::raw_key
pub struct RawKey(StationKey);

impl TrainKey {
    /// Makes the proof: the admission check has found this key on the train's route, and its state allows its use.
    pub(super) fn admitted(key: StationKey) -> Self {
        Self(key)
    }

    /// Returns the key.
    #[must_use]
    pub fn key(&self) -> &StationKey {
        &self.0
    }
}

impl RawKey {
    /// Makes the proof: grants and configuration allow the raw use of this key.
    pub(super) fn permitted(key: StationKey) -> Self {
        Self(key)
    }

    /// Returns the key.
    #[must_use]
    pub fn key(&self) -> &StationKey {
        &self.0
    }
}
