//! Trust check: compares the keys in a train with the trust store before the token is used, and again before a key is wrapped
//! for one of them.

use std::fmt;

use serde_json::json;
use stationmaster_train::{
    config::{HexText, RouteStop, TrainConfig},
    keys::PublicKey,
    route::OwnStop,
    rule::Rule,
};

use crate::{
    audit::Event,
    protocol::{
        StepError,
        context::station::{CallContext, Station},
    },
    trust::{KeyVerdict, NewPin, OwnerKind, PinningError, TrustMode, TrustSnapshot},
};

/// The owner of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOwner {
    /// The train's creator.
    Creator,
    /// The stop with this index.
    Stop(i64),
}

/// Formats the owner for error metadata: `creator`, or the stop's index.
impl fmt::Display for KeyOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Creator => f.write_str("creator"),
            Self::Stop(index) => index.fmt(f),
        }
    }
}

/// A key that is not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UntrustedKey {
    /// The owner that the train states.
    pub who: KeyOwner,
    /// The id that the key is stated for. Text of the train, so for the log only.
    pub id: String,
    /// The key's fingerprint.
    pub fingerprint: String,
    /// Whether another key is trusted for this id.
    pub changed: bool,
    /// The rule that requires the key to be trusted.
    pub rule: Rule,
}

/// Formats the refusal for the log.
impl fmt::Display for UntrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { who, id, fingerprint, changed, rule } = self;
        let known = if *changed { "another key is known for this id" } else { "this id is not known" };
        write!(f, "the key {fingerprint} of {who} ({id:?}), by the rule {}: {known}", rule.name())
    }
}

/// The step in which keys are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocol) enum TrustPhase {
    /// At pre-run: all keys that pre-run or post-run requires.
    BeforeRun,
    /// At post-run: the keys that an envelope key will be wrapped for.
    BeforeWrapping,
    /// When results are only read: the creator and the stops so far. No key is trusted on first use.
    ToRead,
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
    believed: &TrustSnapshot,
    when: TrustPhase,
) -> Result<NewPins, StepError> {
    let holds = |rule| station.enforces(rule);
    let asking = |pinned: Rule, given: bool| {
        if when != TrustPhase::BeforeWrapping && holds(pinned) {
            Some(pinned)
        } else {
            (when != TrustPhase::ToRead && given && holds(Rule::WrapForTrusted)).then_some(Rule::WrapForTrusted)
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
        if changed || believed.mode() != TrustMode::FirstUse || when != TrustPhase::BeforeRun {
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
    Ok(seen)
}

fn usable(key: &HexText) -> Result<PublicKey, StepError> {
    PublicKey::from_hex_pem(key).map_err(|error| StepError::rule(Rule::RouteKeysUsable, error.to_string()))
}

impl NewPins {
    /// Returns the owner of each key and the rule that requires it.
    pub(crate) fn whose(&self) -> impl Iterator<Item = (KeyOwner, Rule)> {
        self.who.iter().copied().zip(self.rules.iter().copied())
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
