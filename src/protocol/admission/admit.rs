//! Admission check: decides for which trains the station's key may be used. A train reaches the token only through this check.

use stationmaster_keystore::{KeyId, KeystoreError};
use stationmaster_train::{
    config::{HexText, SESSION_BYTES, TrainConfig},
    keys::PublicKey,
    route::{OwnStop, RouteError, StopIndex, own_stop, stop_to_read},
    rule::Rule,
};

use super::{
    audited_keys::OnBehalf,
    authorize::AuthorizedTrain,
    permitted_keys::TrainKey,
    station::Station,
    trust_check::{self, NewPins, TrustCheck, TrustPhase},
};
use crate::{
    authz::Purpose,
    protocol::{
        content::train_document::TrainDocument,
        context::{call_context::CallContext, error::StepError, rule_log::RuleLog, station_key::StationKey},
    },
};

/// This station's stop, and the number of stops that have signed.
#[derive(Clone, Debug)]
pub struct StopOnRoute {
    pub(in crate::protocol) own: OwnStop,
    pub(in crate::protocol) signed: usize,
}

impl StopOnRoute {
    /// Finds the stop of a train that is to be run: exactly the stops before it have signed.
    ///
    /// # Errors
    /// When the route does not allow that.
    pub fn to_run(config: &TrainConfig, station_id: &str) -> Result<Self, RouteError> {
        own_stop(config, station_id).map(|own| Self { signed: own.stops_before(), own })
    }

    /// Finds the stop of a train that is only read, before, at or after this stop.
    ///
    /// # Errors
    /// When the route has not the shape that any stop leaves.
    pub fn to_read(config: &TrainConfig, station_id: &str) -> Result<Self, RouteError> {
        stop_to_read(config, station_id).map(|(own, signed)| Self { own, signed })
    }

    /// Returns the stop's index.
    pub(in crate::protocol) fn index(&self) -> StopIndex {
        self.own.index()
    }
}

/// A train that has passed the complete admission check: the route names one of this station's train keys, the caller is granted
/// that key for that train, its session is the one that was first opened here, the session id has its length, and every key that
/// the train states is trusted.
///
/// Only [`AuthorizedTrain::admit`] makes one, so a step cannot pass the token by:
///
/// ```compile_fail,E0451
/// use stationmaster::protocol::{AdmittedTrain, TrainKey};
///
/// fn with_another_key(key: TrainKey, admitted: AdmittedTrain) -> AdmittedTrain {
///     AdmittedTrain { key, ..admitted }
/// }
/// ```
///
/// Its content was not read, so there is nothing to verify:
///
/// ```compile_fail,E0599
/// use stationmaster::protocol::{AdmittedTrain, CallContext, Policy};
///
/// fn verify_early(train: AdmittedTrain, policy: &Policy, call: &CallContext<'_>) {
///     let _ = train.verify(policy, call);
/// }
/// ```
///
/// ```
/// use stationmaster::protocol::{CallContext, Policy, ReadTrain, StepError, VerifiedTrain};
///
/// fn verify(train: ReadTrain, policy: &Policy, call: &CallContext<'_>) -> Result<VerifiedTrain, StepError> {
///     train.verify(policy, call)
/// }
/// ```
pub struct AdmittedTrain {
    document: TrainDocument,
    stop: StopOnRoute,
    key: TrainKey,
    first_seen: NewPins,
    rules: RuleLog,
}

impl AdmittedTrain {
    /// Returns the train's config.
    pub(in crate::protocol) fn document(&self) -> &TrainDocument {
        &self.document
    }

    /// Returns this station's stop.
    pub(in crate::protocol) fn stop(&self) -> &StopOnRoute {
        &self.stop
    }

    /// Returns the station's key on the train's route.
    pub(in crate::protocol) fn key(&self) -> &TrainKey {
        &self.key
    }

    /// Returns the envelope key as it is wrapped for this station, if the train has one.
    pub(in crate::protocol) fn wrapped_key(&self) -> Option<&HexText> {
        self.document.config.route[self.stop.own.position()].encrypted_key.as_ref()
    }

    /// Returns the keys that are trusted on first use, to be pinned once the train has been verified.
    pub(in crate::protocol) fn first_seen(&self) -> &NewPins {
        &self.first_seen
    }

    /// Returns the rules that were checked so far.
    pub(in crate::protocol) fn rules(&self) -> &RuleLog {
        &self.rules
    }

    /// Signs a digest with the train signature scheme: one signature in the token.
    pub(in crate::protocol) fn sign(
        &self,
        station: &Station,
        digest: &[u8],
        step: &CallContext<'_>,
    ) -> Result<Vec<u8>, StepError> {
        let signed = station.keys.sign_for_train(&self.key, OnBehalf::of(step), digest);
        Ok(station.handle.block_on(signed)?)
    }
}

impl AuthorizedTrain {
    /// Runs the complete admission check. Uses no key.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn admit(
        self,
        station: &Station,
        stop: StopOnRoute,
        trust: TrustCheck<'_>,
        step: &CallContext<'_>,
    ) -> Result<AdmittedTrain, StepError> {
        let (document, rules) = self.into_parts();
        let TrainDocument { config, session_id, .. } = &document;
        // Pre-run has reported the rules about the config that post-run uses again.
        let reported_before = RuleLog::default();
        let of_config = if trust.phase == TrustPhase::BeforeWrapping { &reported_before } else { &rules };
        of_config.checked(Rule::RouteShape);
        let key = own_key(station, config, &stop.own, step)?;
        of_config.checked(Rule::OwnRouteKey);
        station.check_session(config, session_id, stop.own.index())?;
        if trust.phase == TrustPhase::BeforeRun {
            // A stop to run counts the stops before it by its index.
            of_config.checked(Rule::FirstByIndex);
            check_wrapping_keys(config, of_config)?;
        }
        check_session_length(station, session_id, of_config)?;
        let first_seen = trust_check::check_keys(station, config, &stop.own, trust, &rules)?;
        Ok(AdmittedTrain { key, first_seen, stop, document, rules })
    }
}

/// Returns the train key that a route's entry names, if the caller is granted its use and its state allows it.
fn own_key(station: &Station, config: &TrainConfig, own: &OwnStop, step: &CallContext<'_>) -> Result<TrainKey, StepError> {
    let named = PublicKey::from_hex_pem(&config.route[own.position()].rsa_public_key).map_err(|_| StepError::ForeignRouteKey)?;
    let named = KeyId::of_spki(&named.to_der());
    let known = station.keys.keys().into_iter().find(|key| key.purpose == Purpose::Train && key.id() == named);
    let key = match known {
        Some(key) => key,
        None => missed_key(station, named, step)?.ok_or(StepError::ForeignRouteKey)?,
    };
    step.caller.may_use_train_key(key.label(), &config.id)?;
    Ok(station.handle.block_on(station.keys.train_key(key))?)
}

/// Returns the named key among those that the token did not show at the last check. While such a key is missing, the train
/// cannot be reported as addressed to another key.
fn missed_key(station: &Station, named: KeyId, step: &CallContext<'_>) -> Result<Option<StationKey>, StepError> {
    let mut away = None;
    for label in station.keys.missing(Purpose::Train) {
        match station.handle.block_on(station.keys.find(&step.caller, &label, step.deadline)) {
            Ok(key) if key.id() == named => return Ok(Some(key)),
            Ok(_) => {}
            Err(error @ KeystoreError::KeyNotFound { .. }) => away = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    away.map_or(Ok(None), |error| Err(error.into()))
}

/// Checks that no byte can move between the session id and a file.
fn check_session_length(station: &Station, session_id: &[u8], rules: &RuleLog) -> Result<(), StepError> {
    let is_enforced = station.enforces(Rule::SessionIdLength);
    if is_enforced && session_id.len() != SESSION_BYTES {
        return Err(StepError::rule(Rule::SessionIdLength, format!("{} bytes", session_id.len())));
    }
    rules.enforced(Rule::SessionIdLength, is_enforced);
    Ok(())
}

/// Checks that the keys which post-run will wrap for are usable, so that a defect is found before the run and not after it.
fn check_wrapping_keys(config: &TrainConfig, rules: &RuleLog) -> Result<(), StepError> {
    let keys = config.route.iter().map(|stop| &stop.rsa_public_key).chain([&config.creator.rsa_public_key]);
    for key in keys {
        PublicKey::from_hex_pem(key).map_err(|error| StepError::rule(Rule::RouteKeysUsable, error.to_string()))?;
    }
    rules.checked(Rule::RouteKeysUsable);
    Ok(())
}
