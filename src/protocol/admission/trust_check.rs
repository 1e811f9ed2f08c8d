//! Trust check: compares the keys in a train with the trust store before the token is used, and again before a key is wrapped
//! for one of them.

use serde_json::json;
use stationmaster_train::{
    config::{HexText, RouteStop, TrainConfig},
    keys::PublicKey,
    route::OwnStop,
    rule::Rule,
};

use super::station::Station;
use crate::{
    audit::Event,
    protocol::context::{
        call_context::CallContext,
        error::StepError,
        key_errors::{KeyOwner, UntrustedKey},
        rule_log::RuleLog,
        rules::OF_TRUST,
    },
    trust::{KeyVerdict, NewPin, OwnerKind, PinningError, TrustMode, TrustSnapshot},
};

/// The step in which keys are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustPhase {
    /// At pre-run: all keys that pre-run or post-run requires.
    BeforeRun,
    /// At post-run: the keys that an envelope key will be wrapped for.
    BeforeWrapping,
    /// When results are only read: the creator and the stops so far. No key is trusted on first use.
    ToRead,
}

/// The comparison of a train's keys with those that the station trusts.
#[derive(Clone, Copy)]
pub struct TrustCheck<'a> {
    /// The trusted keys.
    pub believed: &'a TrustSnapshot,
    /// The step.
    pub phase: TrustPhase,
}

/// Keys seen for the first time, to be pinned once the train has been verified.
#[derive(Debug, Default)]
pub(in crate::protocol) struct NewPins {
    who: Vec<KeyOwner>,
    pins: Vec<NewPin>,
    rules: Vec<Rule>,
}

/// Whether a stop receives the next envelope key.
pub(in crate::protocol) fn receives_key(station: &Station, own: &OwnStop, stop: &RouteStop) -> bool {
    let passed = usize::try_from(stop.index).is_ok_and(|index| index < own.index());
    !(passed && station.policy.rules.holds(Rule::PastStopsExcluded))
}

/// Checks every key that a rule requires to be trusted. The station's own entry is skipped: the token has shown that it holds
/// that key.
pub(in crate::protocol) fn check_keys(
    station: &Station,
    config: &TrainConfig,
    own: &OwnStop,
    TrustCheck { believed, phase }: TrustCheck<'_>,
    rules: &RuleLog,
) -> Result<NewPins, StepError> {
    let holds = |rule| station.enforces(rule);
    let asking = |pinned: Rule, given: bool| {
        if phase != TrustPhase::BeforeWrapping && holds(pinned) {
            Some(pinned)
        } else {
            (phase != TrustPhase::ToRead && given && holds(Rule::WrapForTrusted)).then_some(Rule::WrapForTrusted)
        }
    };
    let mut seen = NewPins::default();
    let mut look = |rule: Option<Rule>, kind, who, id: String, key: &HexText| {
        let Some(rule) = rule else { return Ok(()) };
        let key = usable(key)?;
        let changed = match believed.check_key(kind, &id, &key) {
            KeyVerdict::Trusted => return Ok(()),
            KeyVerdict::Unknown => false,
            KeyVerdict::OtherKey => true,
        };
        // Pre-run has pinned all keys, so no key can be new after it.
        if changed || believed.mode() != TrustMode::FirstUse || phase != TrustPhase::BeforeRun {
            let fingerprint = key.fingerprint();
            return Err(StepError::KeyUntrusted(Box::new(UntrustedKey { who, id, fingerprint, changed, rule })));
        }
        seen.who.push(who);
        seen.pins.push(NewPin { kind, id, key });
        seen.rules.push(rule);
        Ok(())
    };
    let creator = &config.creator;
    look(
        asking(Rule::CreatorPinned, true),
        OwnerKind::Creator,
        KeyOwner::Creator,
        creator.id.to_string(),
        &creator.rsa_public_key,
    )?;
    for (position, stop) in config.route.iter().enumerate() {
        if position != own.position() {
            let rule = asking(Rule::StationsPinned, receives_key(station, own, stop));
            look(rule, OwnerKind::Station, KeyOwner::Stop(stop.index), stop.station.to_string(), &stop.rsa_public_key)?;
        }
    }
    note_rules(station, phase, rules);
    seen.explain(rules);
    Ok(seen)
}

/// Notes the rules that the check of a phase has enforced.
fn note_rules(station: &Station, phase: TrustPhase, rules: &RuleLog) {
    for rule in OF_TRUST {
        let wraps = rule == Rule::WrapForTrusted;
        match (phase, station.enforces(rule)) {
            // Nothing is wrapped.
            (TrustPhase::ToRead, _) if wraps => {}
            // Pre-run has compared these keys.
            (TrustPhase::BeforeWrapping, true) if !wraps => {}
            (_, is_enforced) => rules.enforced(rule, is_enforced),
        }
    }
}

fn usable(key: &HexText) -> Result<PublicKey, StepError> {
    PublicKey::from_hex_pem(key).map_err(|error| StepError::rule(Rule::RouteKeysUsable, error.to_string()))
}

impl NewPins {
    /// Notes which keys were seen for the first time.
    fn explain(&self, rules: &RuleLog) {
        for (who, rule) in self.who.iter().zip(&self.rules) {
            let note = match who {
                KeyOwner::Creator => "seen first, and believed from now on",
                KeyOwner::Stop(_) => "some were seen first, and are believed from now on",
            };
            rules.explain(*rule, note);
        }
    }

    /// Returns kind, id and fingerprint of each key, for the audit.
    fn named(&self) -> serde_json::Value {
        let one = |pin: &NewPin| json!({ "kind": pin.kind.name(), "id": pin.id, "fingerprint": pin.key.fingerprint() });
        self.pins.iter().map(one).collect()
    }

    /// Pins the keys: in the audit first, and on disk when this returns. Returns a warning for each, for the administrator.
    pub(crate) fn pin(&self, station: &Station, step: &CallContext<'_>) -> Result<Vec<String>, StepError> {
        let Self { who, pins, rules } = self;
        let refused = |place: usize, changed| {
            let NewPin { id, key, .. } = &pins[place];
            let (id, fingerprint) = (id.clone(), key.fingerprint());
            StepError::KeyUntrusted(Box::new(UntrustedKey { who: who[place], id, fingerprint, changed, rule: rules[place] }))
        };
        if !pins.is_empty() {
            station.keys.audit().record(step.audit_entry(Event::TrustChanged).with("pinned_at_first_sight", self.named()))?;
        }
        match if pins.is_empty() { Ok(()) } else { station.trust.pin(pins) } {
            Err(PinningError::OtherKey(place)) => return Err(refused(place, true)),
            Err(PinningError::Entry(place, _)) => return Err(refused(place, false)),
            Err(PinningError::File(error)) => return Err(StepError::TrustNotKept(error)),
            Ok(()) if pins.is_empty() => {}
            // From now on the absence of the pinned keys is detected.
            Ok(()) => station.ledger.keep_first_seen()?,
        }
        let told = |(who, pin): (&KeyOwner, &NewPin)| {
            let whose = match who {
                KeyOwner::Creator => "the creator's".to_owned(),
                KeyOwner::Stop(index) => format!("stop {index}'s"),
            };
            let fingerprint = pin.key.fingerprint();
            format!("{whose} key {fingerprint} was seen first and is believed from now on: compare the fingerprint")
        };
        Ok(who.iter().zip(pins).map(told).collect())
    }
}
