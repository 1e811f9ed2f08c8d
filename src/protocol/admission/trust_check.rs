//! Trust check: compares the keys in a train with the trust store before the token is used, and again before a key is wrapped
//! for one of them.

use serde_json::json;
use stationmaster_train::{
    config::{Creator, HexText, RouteStop, TrainConfig},
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
    pub trusted: &'a TrustSnapshot,
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
    let passed = usize::try_from(stop.index).is_ok_and(|index| index < own.stops_before());
    !(passed && station.policy.rules.holds(Rule::PastStopsExcluded))
}

/// Checks every key that a rule requires to be trusted. The station's own entry is skipped: the token has shown that it holds
/// that key.
pub(in crate::protocol) fn check_keys(
    station: &Station,
    config: &TrainConfig,
    own: &OwnStop,
    check: TrustCheck<'_>,
    rules: &RuleLog,
) -> Result<NewPins, StepError> {
    let mut keys = KeyCheck { station, check, seen: NewPins::default() };
    keys.check_creator(&config.creator)?;
    for (position, stop) in config.route.iter().enumerate() {
        if position != own.position() {
            keys.check_stop(stop, receives_key(station, own, stop))?;
        }
    }
    note_rules(station, check.phase, rules);
    keys.seen.explain(rules);
    Ok(keys.seen)
}

/// The check of a train's keys, one after the other.
struct KeyCheck<'a> {
    station: &'a Station,
    check: TrustCheck<'a>,
    /// The keys so far that were seen for the first time.
    seen: NewPins,
}

impl KeyCheck<'_> {
    fn check_creator(&mut self, creator: &Creator) -> Result<(), StepError> {
        let Some(rule) = self.rule(Rule::CreatorPinned, true) else { return Ok(()) };
        let pin = NewPin { kind: OwnerKind::Creator, id: creator.id.to_string(), key: usable(&creator.rsa_public_key)? };
        self.check(pin, KeyOwner::Creator, rule)
    }

    fn check_stop(&mut self, stop: &RouteStop, receives_key: bool) -> Result<(), StepError> {
        let Some(rule) = self.rule(Rule::StationsPinned, receives_key) else { return Ok(()) };
        let pin = NewPin { kind: OwnerKind::Station, id: stop.station.to_string(), key: usable(&stop.rsa_public_key)? };
        self.check(pin, KeyOwner::Stop(stop.index), rule)
    }

    /// Returns the rule by which a key must be trusted now, if any: `pinned` before anything is wrapped, and the rule about
    /// wrapping for owners that receive the envelope key.
    fn rule(&self, pinned: Rule, receives_key: bool) -> Option<Rule> {
        let phase = self.check.phase;
        if phase != TrustPhase::BeforeWrapping && self.station.enforces(pinned) {
            return Some(pinned);
        }
        let wraps = phase != TrustPhase::ToRead && receives_key && self.station.enforces(Rule::WrapForTrusted);
        wraps.then_some(Rule::WrapForTrusted)
    }

    /// Compares a key with those that the station trusts. An unknown key is kept, to be pinned, where first use is trusted.
    fn check(&mut self, pin: NewPin, who: KeyOwner, rule: Rule) -> Result<(), StepError> {
        let TrustCheck { trusted, phase } = self.check;
        let changed = match trusted.check_key(pin.kind, &pin.id, &pin.key) {
            KeyVerdict::Trusted => return Ok(()),
            KeyVerdict::Unknown => false,
            KeyVerdict::OtherKey => true,
        };
        // Pre-run has pinned all keys, so no key can be new after it.
        if changed || trusted.mode() != TrustMode::FirstUse || phase != TrustPhase::BeforeRun {
            let NewPin { id, key, .. } = pin;
            let fingerprint = key.fingerprint();
            return Err(StepError::KeyUntrusted(Box::new(UntrustedKey { who, id, fingerprint, changed, rule })));
        }
        self.seen.add(pin, who, rule);
        Ok(())
    }
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
    fn add(&mut self, pin: NewPin, who: KeyOwner, rule: Rule) {
        self.pins.push(pin);
        self.who.push(who);
        self.rules.push(rule);
    }

    /// Notes which keys were seen for the first time.
    fn explain(&self, rules: &RuleLog) {
        for (who, rule) in self.who.iter().zip(&self.rules) {
            let note = match who {
                KeyOwner::Creator => "seen first, and trusted from now on",
                KeyOwner::Stop(_) => "some were seen first, and are trusted from now on",
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
            format!("{whose} key {fingerprint} was seen first and is trusted from now on: compare the fingerprint")
        };
        Ok(who.iter().zip(pins).map(told).collect())
    }
}
