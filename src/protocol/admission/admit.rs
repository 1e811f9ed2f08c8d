//! Admission check: decides for which trains the station's key may be used. A train reaches the token only through this check.

use stationmaster_keystore::{KeyInfo, KeystoreError, Purpose};
use stationmaster_train::{
    config::{HexText, SESSION_BYTES, TrainConfig},
    keys::PublicKey,
    route::OwnStop,
    rule::Rule,
};

use super::trust_check::{self, NewPins, TrustPhase};
use crate::{
    protocol::{
        StepError,
        context::station::{CallContext, Station},
    },
    trust::TrustSnapshot,
};

/// A train that has passed the complete admission check: the route names one of this station's train keys, the caller is granted
/// that key for that train, its session is the one that was first opened here, the session id has its length, and every key that
/// the train states is trusted.
///
/// [`AuditedKeys`](super::AuditedKeys) accepts a train key only in such a value, and only [`Station::admit`] makes one. A step
/// that omits the check does not compile:
///
/// ```compile_fail,E0451
/// use stationmaster::{keystore::KeyInfo, protocol::AdmittedTrain};
///
/// fn with_another_key(key: KeyInfo, admitted: AdmittedTrain) -> AdmittedTrain {
///     AdmittedTrain { key, ..admitted }
/// }
/// ```
///
/// ```compile_fail,E0624
/// // The check itself belongs to the steps: nothing outside them admits a train.
/// let _ = stationmaster::protocol::Station::admit;
/// ```
pub struct AdmittedTrain {
    key: KeyInfo,
    wrapped: Option<HexText>,
    first_seen: NewPins,
}

/// The properties of a train that are known before it is admitted.
#[derive(Clone, Copy)]
pub struct Arriving<'a> {
    /// The train's config.
    pub config: &'a TrainConfig,
    /// The train session, raw bytes.
    pub session_id: &'a [u8],
    /// This station's stop.
    pub own: &'a OwnStop,
}

impl AdmittedTrain {
    /// Returns the station's key on the train's route.
    pub(in crate::protocol) fn key(&self) -> &KeyInfo {
        &self.key
    }

    /// Returns the envelope key as it is wrapped for this station, if the train has one.
    pub(in crate::protocol) fn wrapped_key(&self) -> Option<&HexText> {
        self.wrapped.as_ref()
    }

    /// Returns the keys that are trusted on first use, to be pinned once the train has been verified.
    pub(in crate::protocol) fn first_seen(&self) -> &NewPins {
        &self.first_seen
    }
}

impl Station {
    /// Runs the complete admission check. Uses no key.
    pub(in crate::protocol) fn admit(
        &self,
        arriving: Arriving<'_>,
        believed: &TrustSnapshot,
        when: TrustPhase,
        step: &CallContext<'_>,
    ) -> Result<AdmittedTrain, StepError> {
        let Arriving { config, session_id, own } = arriving;
        let key = self.own_key(config, own, step)?;
        self.check_session(config, session_id, own.index())?;
        if when == TrustPhase::BeforeRun {
            check_wrapping_keys(config)?;
        }
        if self.enforces(Rule::SessionIdLength) && session_id.len() != SESSION_BYTES {
            return Err(StepError::rule(Rule::SessionIdLength, format!("{} bytes", session_id.len())));
        }
        let first_seen = trust_check::check_keys(self, config, own, believed, when)?;
        Ok(AdmittedTrain { key, wrapped: config.route[own.position()].encrypted_key.clone(), first_seen })
    }

    /// Returns the train key that a route's entry names, if the caller is granted its use.
    fn own_key(&self, config: &TrainConfig, own: &OwnStop, step: &CallContext<'_>) -> Result<KeyInfo, StepError> {
        let named =
            PublicKey::from_hex_pem(&config.route[own.position()].rsa_public_key).map_err(|_| StepError::ForeignRouteKey)?;
        let is_named = |key: &KeyInfo| PublicKey::from_spki_der(&key.spki_der).is_ok_and(|ours| ours == named);
        let known = self.keys.keys().into_iter().filter(|key| key.purpose == Purpose::Train).find(is_named);
        let key = match known {
            Some(key) => key,
            None => self.missed_key(is_named, step)?.ok_or(StepError::ForeignRouteKey)?,
        };
        step.caller.may_use_train_key(&key.label, &config.id)?;
        Ok(key)
    }

    /// Returns the named key among those that the token did not show at the last check. While such a key is missing, the train
    /// cannot be reported as addressed to another key.
    fn missed_key(&self, is_named: impl Fn(&KeyInfo) -> bool, step: &CallContext<'_>) -> Result<Option<KeyInfo>, StepError> {
        let mut away = None;
        for label in self.keys.missing(Purpose::Train) {
            match self.handle.block_on(self.keys.find(&step.caller, &label, step.deadline)) {
                Ok(key) if is_named(&key) => return Ok(Some(key)),
                Ok(_) => {}
                Err(error @ KeystoreError::KeyNotFound { .. }) => away = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        away.map_or(Ok(None), |error| Err(error.into()))
    }
}

/// Checks that the keys which post-run will wrap for are usable, so that a defect is found before the run and not after it.
fn check_wrapping_keys(config: &TrainConfig) -> Result<(), StepError> {
    let keys = config.route.iter().map(|stop| &stop.rsa_public_key).chain([&config.creator.rsa_public_key]);
    for key in keys {
        PublicKey::from_hex_pem(key).map_err(|error| StepError::rule(Rule::RouteKeysUsable, error.to_string()))?;
    }
    Ok(())
}
