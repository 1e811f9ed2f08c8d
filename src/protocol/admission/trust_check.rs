//! Whose keys a train states: each is judged by the trust store before the token is touched, and again before a key is wrapped
//! for it.

use std::fmt;

use serde_json::json;

use crate::{
    audit::Event,
    image::ImageError,
    protocol::{
        StepError,
        context::station::{CallContext, Station},
    },
    train::{
        config::{HexText, RouteStop, TrainConfig},
        keys::PublicKey,
        route::OwnStop,
        rule::Rule,
    },
    trust::{Believed, Kind, NewPin, NotPinned, TrustMode, Verdict},
};

/// Whose key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOwner {
    /// The creator's.
    Creator,
    /// That of the stop with this index.
    Stop(i64),
}

/// As error metadata has it: `creator`, or the stop's index.
impl fmt::Display for KeyOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Creator => f.write_str("creator"),
            Self::Stop(index) => index.fmt(f),
        }
    }
}

/// A key that is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UntrustedKey {
    /// Whose it is said to be.
    pub who: KeyOwner,
    /// The id that it is stated for, for the log only: the train's own text.
    pub id: String,
    /// The key's fingerprint.
    pub fingerprint: String,
    /// Whether another key is believed for the id.
    pub changed: bool,
    /// The rule that asks.
    pub rule: Rule,
}

/// For the log.
impl fmt::Display for UntrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { who, id, fingerprint, changed, rule } = self;
        let known = if *changed { "another key is known for this id" } else { "this id is not known" };
        write!(f, "the key {fingerprint} of {who} ({id:?}), by the rule {}: {known}", rule.name())
    }
}

/// When keys are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocol) enum TrustPhase {
    /// At pre-run: all that pre-run asks for, and all that post-run will ask for.
    BeforeRun,
    /// At post-run: those that a key will be wrapped for.
    BeforeWrapping,
    /// Where results are only read: who made the train and who was on its way. Nobody is believed at first sight then.
    ToRead,
}

/// Keys that were never seen before, to be pinned once the train has proved right.
#[derive(Debug, Default)]
pub(in crate::protocol) struct NewPins {
    who: Vec<KeyOwner>,
    pins: Vec<NewPin>,
    rules: Vec<Rule>,
}

/// Whether a stop is given the next envelope key.
pub(in crate::protocol) fn receives_key(station: &Station, own: &OwnStop, stop: &RouteStop) -> bool {
    let passed = usize::try_from(stop.index).is_ok_and(|index| index < own.index());
    !(passed && station.policy.rules.holds(Rule::PastStopsExcluded))
}

/// Judges every key that a rule asks about. Our own entry is not judged: that its key is ours, the token has shown.
pub(in crate::protocol) fn check_keys(
    station: &Station,
    config: &TrainConfig,
    own: &OwnStop,
    believed: &Believed,
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
        let changed = match believed.judge(kind, &id, &key) {
            Verdict::Trusted => return Ok(()),
            Verdict::Unknown => false,
            Verdict::OtherKey => true,
        };
        // Later than this moment nobody is new: pre-run has pinned all.
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
    look(asking(Rule::CreatorPinned, true), Kind::Creator, KeyOwner::Creator, creator.id.to_string(), &creator.rsa_public_key)?;
    for (position, stop) in config.route.iter().enumerate() {
        if position != own.position() {
            let rule = asking(Rule::StationsPinned, receives_key(station, own, stop));
            look(rule, Kind::Station, KeyOwner::Stop(stop.index), stop.station.to_string(), &stop.rsa_public_key)?;
        }
    }
    Ok(seen)
}

fn usable(key: &HexText) -> Result<PublicKey, ImageError> {
    PublicKey::from_hex_pem(key).map_err(|error| crate::protocol::checks::rules::broken(Rule::RouteKeysUsable, error.to_string()))
}

impl NewPins {
    /// Whose they are, and the rule that asks about each.
    pub fn whose(&self) -> impl Iterator<Item = (KeyOwner, Rule)> {
        self.who.iter().copied().zip(self.rules.iter().copied())
    }

    /// Kind, id and fingerprint of each, for the audit.
    fn named(&self) -> serde_json::Value {
        let one = |pin: &NewPin| json!({ "kind": pin.kind.name(), "id": pin.id, "fingerprint": pin.key.fingerprint() });
        self.pins.iter().map(one).collect()
    }

    /// Pins them, on the disk when this answers, and in the audit before that. Answers what a person should know of each.
    pub fn pin(&self, station: &Station, step: &CallContext<'_>) -> Result<Vec<String>, StepError> {
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
            Err(NotPinned::OtherKey(place)) => return Err(refused(place, true)),
            Err(NotPinned::Entry(place, _)) => return Err(refused(place, false)),
            Err(NotPinned::File(error)) => return Err(StepError::TrustNotKept(error)),
            Ok(()) if pins.is_empty() => {}
            // What was pinned is missed from now on when it goes missing.
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
