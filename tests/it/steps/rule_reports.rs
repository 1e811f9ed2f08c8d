//! Each step reports the rules that it enforces, and only those: the list of a step is stated here and nowhere in the product,
//! where the checks themselves write the report.

use std::collections::BTreeMap;

use stationmaster_proto as pb;
use stationmaster_proto::RuleOutcome::{self, Checked, NotCheckable, Relaxed};
use stationmaster_train::rule::{Enforcement, Rule};

use crate::support::{Engine, Station, Train, set, tamper::run_script};

/// The rules of a pre-run.
const PRE_RUN: &[Rule] = &[
    Rule::StrictConfig,
    Rule::SessionIdLength,
    Rule::CreatorPinned,
    Rule::StationsPinned,
    Rule::OwnRouteKey,
    Rule::RouteShape,
    Rule::FirstByIndex,
    Rule::CreatorSignature,
    Rule::BuilderSignature,
    Rule::ImmutableDigest,
    Rule::ListedFilesPresent,
    Rule::UnlistedFiles,
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
    Rule::NoPlaintextLayers,
];
/// The rules about earlier stops. At the first stop they cannot be checked.
const CHAIN: &[Rule] =
    &[Rule::ChainSignatures, Rule::NewestLink, Rule::SignaturesApart, Rule::ResultsSignature, Rule::ResultsDigest];
/// The rules of a train whose results are only read.
const READING: &[Rule] = &[
    Rule::StrictConfig,
    Rule::SessionIdLength,
    Rule::CreatorPinned,
    Rule::StationsPinned,
    Rule::OwnRouteKey,
    Rule::RouteShape,
    Rule::CreatorSignature,
    Rule::BuilderSignature,
    Rule::ImmutableDigest,
    Rule::ListedFilesPresent,
    Rule::BothDirectories,
    Rule::PlainNames,
    Rule::UniqueNames,
    Rule::NoLinks,
    Rule::SealedLengths,
];
/// The rules of a post-run.
const POST_RUN: &[Rule] = &[
    Rule::BothDirectories,
    Rule::PlainNames,
    Rule::UniqueNames,
    Rule::NoLinks,
    Rule::OptAllowList,
    Rule::UnlistedFiles,
    Rule::RouteKeysUsable,
    Rule::WrapForTrusted,
    Rule::PastStopsExcluded,
    Rule::ConfigOfPreRun,
    Rule::ImmutableUnchanged,
    Rule::ImageOfThisRun,
    Rule::NoPlaintextLayers,
];
/// The rules about keys, which do not apply where the keys in the train are trusted.
const OF_TRUST: &[Rule] = &[Rule::CreatorPinned, Rule::StationsPinned, Rule::WrapForTrusted];
/// The rules that apply only where a configuration demands them.
const OPTIONAL: &[Rule] = &[Rule::MasterImage, Rule::PastStopsExcluded];

type Outcomes = BTreeMap<&'static str, RuleOutcome>;

/// Returns the report of a step that enforces `enforced`, except for those in `relaxed`.
fn expected(enforced: &[&[Rule]], not_checkable: &[Rule], relaxed: &[&[Rule]]) -> Outcomes {
    let is_relaxed = |rule: &Rule| relaxed.iter().any(|rules| rules.contains(rule));
    let outcome = |rule: &Rule| (rule.name(), if is_relaxed(rule) { Relaxed } else { Checked });
    let by_format = Rule::ALL.iter().filter(|rule| matches!(rule.standing(), Enforcement::NotCheckable(_)));
    let unknown = not_checkable.iter().chain(by_format).map(|rule| (rule.name(), NotCheckable));
    enforced.iter().copied().flatten().map(outcome).chain(unknown).collect()
}

#[track_caller]
fn reports(what: &str, rules: &[pb::RuleReport], expected: &Outcomes) {
    let found: BTreeMap<&str, RuleOutcome> = rules.iter().map(|rule| (rule.rule.as_str(), rule.outcome())).collect();
    assert_eq!(found.len(), rules.len(), "{what}: a rule twice");
    assert_eq!(found, *expected, "{what}");
}

#[test]
fn each_step_reports_the_rules_that_its_checks_enforced() {
    let (engine, stations) = (Engine::connect(), ["a", "b"].map(|id| Station::with(id).start_pinned()));
    let train = Train::of(&stations.each_ref().map(Station::seat)).make();
    for (index, station) in stations.iter().enumerate() {
        station.trust_train(&train);
        let (chain, unknown) = if index == 0 { (&[][..], CHAIN) } else { (CHAIN, &[][..]) };
        let (_, read) = station.open_results(&train.image, &[]).unwrap();
        reports("reading", &read.rules, &expected(&[READING, chain], unknown, &[]));
        let run = station.pre_run(&train.image).unwrap();
        reports("pre-run", &run.rules, &expected(&[PRE_RUN, chain], unknown, &[OPTIONAL]));
        run_script(&engine, &train.image, "/bin/sh /opt/pht_train/run.sh");
        let closed = station.post_run(&run.run_id).unwrap();
        reports("post-run", &closed.rules, &expected(&[POST_RUN], &[], &[OPTIONAL]));
    }
}

#[test]
fn a_relaxed_rule_is_reported_by_every_step_that_would_enforce_it() {
    const SWITCHED: &[Rule] =
        &[Rule::SessionIdLength, Rule::UnlistedFiles, Rule::OptAllowList, Rule::SignaturesApart, Rule::NoPlaintextLayers];
    let relax = |config: &mut toml::Table| {
        let names: Vec<toml::Value> = SWITCHED.iter().map(|rule| rule.name().into()).collect();
        set(config, "rules", "relax", names);
    };
    let (engine, station) = (Engine::connect(), Station::with("a").start_configured(relax));
    let train = Train::of(&[station.seat()]).make();
    let (_, read) = station.open_results(&train.image, &[]).unwrap();
    reports("reading", &read.rules, &expected(&[READING], CHAIN, &[SWITCHED, OF_TRUST]));
    let run = station.pre_run(&train.image).unwrap();
    reports("pre-run", &run.rules, &expected(&[PRE_RUN], CHAIN, &[SWITCHED, OF_TRUST, OPTIONAL]));
    run_script(&engine, &train.image, "/bin/sh /opt/pht_train/run.sh");
    let closed = station.post_run(&run.run_id).unwrap();
    // What pre-run allowed in `/opt` is not in the layer that is written, whatever the rule.
    let relaxed: Vec<Rule> = SWITCHED.iter().copied().filter(|rule| *rule != Rule::OptAllowList).collect();
    reports("post-run", &closed.rules, &expected(&[POST_RUN, OF_TRUST], &[], &[&relaxed, OF_TRUST, OPTIONAL]));
}
