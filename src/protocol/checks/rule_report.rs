//! Outcome of every rule, reported only if all of the step's checks have passed.

use stationmaster_train::{
    route::OwnStop,
    rule::{Enforcement, Outcome, Report, Rule},
};

use super::rules::OF_TRUST;
use crate::{
    audit::RuleRef,
    ledger::RuleNote,
    protocol::{
        admission::trust_check::{KeyOwner, NewPins},
        context::station::Station,
    },
};

/// Note of a train whose builder's signature is valid.
const BUILDER: &str =
    "made with the key that the train itself names: whoever held it saw the creator's signature over these files";
/// Note on the extent of the base check.
const BASE: &str = "the base's history, and one file of its code: it was not made from an opened train";
/// Note on the sealed image.
const SEALED: &str =
    "the image is the train's base, as pre-run saw it, and one layer of sealed files; the run's own layers are not in it";
const NO_STOP_BEFORE: &str = "no stop before this one has signed anything";

/// The rules that pre-run enforces on every train.
const OF_PRE_RUN: &[Rule] = &[
    Rule::StrictConfig,
    Rule::SessionIdLength,
    Rule::CreatorPinned,
    Rule::StationsPinned,
    Rule::OwnRouteKey,
    Rule::RouteShape,
    Rule::FirstByIndex,
    Rule::CreatorSignature,
    Rule::ImmutableDigest,
    Rule::ListedFilesPresent,
    Rule::BothDirectories,
    Rule::PlainNames,
    Rule::UniqueNames,
    Rule::NoLinks,
    Rule::NoVolumes,
    Rule::MasterImage,
    Rule::OptAllowList,
    Rule::SealedLengths,
    Rule::RouteKeysUsable,
    Rule::WrapForTrusted,
];
/// The rules that apply only if a stop precedes this one.
const OF_THE_CHAIN: &[Rule] =
    &[Rule::ChainSignatures, Rule::NewestLink, Rule::SignaturesApart, Rule::ResultsSignature, Rule::ResultsDigest];
/// The rules that apply to a train whose results are only read.
const OF_READING: &[Rule] = &[
    Rule::StrictConfig,
    Rule::SessionIdLength,
    Rule::CreatorPinned,
    Rule::StationsPinned,
    Rule::OwnRouteKey,
    Rule::RouteShape,
    Rule::CreatorSignature,
    Rule::ImmutableDigest,
    Rule::ListedFilesPresent,
    Rule::BothDirectories,
    Rule::PlainNames,
    Rule::UniqueNames,
    Rule::NoLinks,
    Rule::SealedLengths,
];
/// The rules of post-run.
const OF_POST_RUN: &[Rule] = &[
    Rule::BothDirectories,
    Rule::PlainNames,
    Rule::UniqueNames,
    Rule::NoLinks,
    Rule::RouteKeysUsable,
    Rule::WrapForTrusted,
    Rule::PastStopsExcluded,
    Rule::ConfigOfPreRun,
    Rule::ImmutableUnchanged,
    Rule::ImageOfThisRun,
];

/// Returns the report of a pre-run that opened the train.
pub(in crate::protocol) fn of_pre_run(station: &Station, own: &OwnStop, unlisted: usize) -> Report {
    let mut report = Report::default();
    held(station, &mut report, OF_PRE_RUN);
    report.note(Rule::BuilderSignature, Outcome::Checked, BUILDER);
    held(station, &mut report, &[Rule::NoPlaintextLayers]);
    report.explain(Rule::NoPlaintextLayers, if station.enforces(Rule::NoPlaintextLayers) { BASE } else { "" });
    held(station, &mut report, &[Rule::UnlistedFiles]);
    if unlisted > 0 && station.enforces(Rule::UnlistedFiles) {
        report.explain(Rule::UnlistedFiles, format!("{unlisted} were left out"));
    }
    of_the_chain(station, &mut report, own.index());
    report.with_not_checkable()
}

/// Returns the report of a train that `signed` stops have signed and whose results may be read.
pub(in crate::protocol) fn of_reading(station: &Station, signed: usize) -> Report {
    let mut report = Report::default();
    held(station, &mut report, OF_READING);
    report.note(Rule::BuilderSignature, Outcome::Checked, BUILDER);
    of_the_chain(station, &mut report, signed);
    report.with_not_checkable()
}

fn of_the_chain(station: &Station, report: &mut Report, signed: usize) {
    if signed == 0 {
        for rule in OF_THE_CHAIN {
            report.note(*rule, Outcome::NotCheckable, NO_STOP_BEFORE);
        }
    } else {
        held(station, report, OF_THE_CHAIN);
    }
}

/// Notes which keys were seen for the first time.
pub(in crate::protocol) fn note_first_seen(report: &mut Report, seen: &NewPins) {
    for (who, rule) in seen.whose() {
        let note = match who {
            KeyOwner::Creator => "seen first, and believed from now on",
            KeyOwner::Stop(_) => "some were seen first, and are believed from now on",
        };
        report.explain(rule, note);
    }
}

/// Returns the report of a post-run that closed the train.
pub(in crate::protocol) fn of_post_run(station: &Station) -> Report {
    let mut report = Report::default();
    held(station, &mut report, OF_POST_RUN);
    for rule in OF_TRUST {
        if !station.enforces(rule) {
            report.note(rule, Outcome::Relaxed, "");
        }
    }
    held(station, &mut report, &[Rule::NoPlaintextLayers]);
    report.explain(Rule::NoPlaintextLayers, if station.enforces(Rule::NoPlaintextLayers) { SEALED } else { "" });
    held(station, &mut report, &[Rule::UnlistedFiles]);
    // Whatever pre-run allowed in `/opt`, none of it is in the layer that is written.
    report.note(Rule::OptAllowList, Outcome::Checked, "what is not the train's was left out");
    report.with_not_checkable()
}

fn held(station: &Station, report: &mut Report, rules: &[Rule]) {
    for rule in rules {
        let holds = station.enforces(*rule);
        // Optional rules are off by default: this is no weakening and must not be reported as one.
        let note = if !holds && rule.standing() == Enforcement::Optional { "not demanded here" } else { "" };
        report.note(*rule, if holds { Outcome::Checked } else { Outcome::Relaxed }, note);
    }
}

/// Returns the warnings about relaxed rules.
pub(in crate::protocol) fn warnings(station: &Station, report: &Report) -> Vec<String> {
    let mut warnings = Vec::new();
    let embedded = station.is_embedded();
    if embedded {
        warnings.push(EMBEDDED.to_owned());
    }
    for finding in report.findings() {
        let said = embedded && OF_TRUST.contains(&finding.rule);
        if finding.outcome == Outcome::Relaxed && finding.rule.standing() == Enforcement::Strict && !said {
            warnings.push(format!("the rule {} is relaxed here: {}", finding.rule.name(), finding.rule.text()));
        }
    }
    warnings
}

/// Warning of a station that trusts the keys in trains.
pub const EMBEDDED: &str = "NO KEY WAS COMPARED WITH ANYTHING: this station believes the keys in the train itself (mode = embedded \
     in [trust]), so anyone can make a train that it runs and signs";

/// Returns rules and outcomes in the form of audit records.
pub(in crate::protocol) fn recorded(notes: &[RuleNote]) -> Vec<RuleRef> {
    notes.iter().map(|note| RuleRef { rule: note.rule.clone(), outcome: note.outcome.clone() }).collect()
}
