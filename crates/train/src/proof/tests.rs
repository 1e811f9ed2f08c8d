use super::*;
use crate::{
    config::{HexText, RouteStop, StopSignature},
    envelope::ShapeVerdict,
    names::FilePath,
    vectors::steps,
};

/// Every state of the train that train_lib carried over three stops: before each stop, and at the end.
fn states() -> Vec<TrainConfig> {
    let steps = steps();
    let last = TrainConfig::parse(&steps.last().unwrap().next).unwrap();
    steps.into_iter().map(|step| step.config).chain([last]).collect()
}

fn at_the_end() -> TrainConfig {
    states().pop().unwrap()
}

/// The entries found with an honest config.
fn beside(config: &TrainConfig) -> Found {
    let mut found = Found::default();
    (found.code.is_there, found.results.is_there) = (true, true);
    for name in Listing::new(&at_the_end().file_list).unwrap().names() {
        found.file(true, name.clone(), 48, ShapeVerdict::TooShortToTell);
    }
    found.file(true, FilePath::query(), 64, ShapeVerdict::Sealed);
    found.file(false, FilePath::new("a/result").unwrap(), 64, ShapeVerdict::Sealed);
    found.user_key = user_key_bytes(config).map(|key| key.unwrap());
    found
}

fn broken(proof: &Proof) -> Vec<&'static str> {
    let findings = proof.report.findings();
    findings.into_iter().filter(|finding| finding.outcome == Outcome::Broken).map(|finding| finding.rule.name()).collect()
}

/// The rules that a change of the config breaks.
fn broken_by(change: impl FnOnce(&mut TrainConfig)) -> Vec<&'static str> {
    let mut config = at_the_end();
    change(&mut config);
    let found = beside(&config);
    broken(&prove(&config, found, None))
}

/// The rules that a change of the entries found with the config breaks.
fn broken_beside(change: impl FnOnce(&mut Found)) -> Vec<&'static str> {
    let config = at_the_end();
    let mut found = beside(&config);
    change(&mut found);
    broken(&prove(&config, found, None))
}

fn stop(config: &mut TrainConfig, index: i64) -> &mut RouteStop {
    config.route.iter_mut().find(|stop| stop.index == index).unwrap()
}

fn link(config: &mut TrainConfig, index: i64) -> &mut StopSignature {
    stop(config, index).signature.as_mut().unwrap()
}

fn flip(text: &mut HexText) {
    let mut bytes = text.decode().unwrap();
    bytes[9] ^= 1;
    *text = HexText::from_bytes(&bytes);
}

#[test]
fn a_train_holds_before_every_stop_and_at_the_end() {
    for (signed, config) in states().into_iter().enumerate() {
        let found = beside(&config);
        let proof = prove(&config, found, None);
        assert_eq!((broken(&proof), proof.stops_signed, proof.stops), (vec![], signed, 3), "{:?}", proof.report);
        // Before the first stop no rule is reported as checked without anything to check; pre-run uses the same outcome.
        for rule in [Rule::ChainSignatures, Rule::NewestLink, Rule::SignaturesApart, Rule::ResultsSignature] {
            let said = proof.report.findings().into_iter().find(|finding| finding.rule == rule).map(|finding| finding.outcome);
            assert_eq!(said, Some(if signed == 0 { Outcome::NotCheckable } else { Outcome::Checked }), "{}", rule.name());
        }
    }
}

#[test]
fn every_rule_of_a_train_at_rest_has_an_outcome_and_each_unchecked_one_a_cause() {
    let config = at_the_end();
    let proof = prove(&config, beside(&config), None);
    let of_steps = [
        Rule::FirstByIndex,
        Rule::NoVolumes,
        Rule::MasterImage,
        Rule::ConfigOfPreRun,
        Rule::ImmutableUnchanged,
        Rule::AtRestWhileRead,
        Rule::ImageOfThisRun,
    ];
    let reported: Vec<Rule> = proof.report.findings().iter().map(|finding| finding.rule).collect();
    let expected: Vec<Rule> = Rule::ALL.iter().copied().filter(|rule| !of_steps.contains(rule)).collect();
    assert_eq!(reported, expected);
    for finding in proof.report.findings() {
        assert!(finding.outcome == Outcome::Checked || !finding.note.is_empty(), "{finding:?}");
    }
}

#[test]
fn a_forged_signature_breaks_its_own_rule_only() {
    assert_eq!(broken_by(|c| flip(&mut c.signature)), ["creator-signature", "builder-signature"]);
    assert_eq!(broken_by(|c| flip(&mut c.build.signature)), ["builder-signature"]);
    assert_eq!(broken_by(|c| flip(c.result_signature.as_mut().unwrap())), ["results-signature"]);
    assert_eq!(broken_by(|c| c.result_signature = None), ["results-signature"]);
    assert_eq!(broken_by(|c| flip(&mut link(c, 1).signature)), ["chain-signatures"]);
}

#[test]
fn a_link_in_the_place_of_another_is_reported_even_where_it_cannot_be_recomputed() {
    // Both are signed by the same key in the same form.
    let results_as_link = |c: &mut TrainConfig| {
        let digest = c.result_hash.clone().unwrap();
        *link(c, 2) = StopSignature { digest, signature: c.result_signature.clone().unwrap() };
    };
    assert_eq!(broken_by(results_as_link), ["newest-link", "signatures-apart"]);
    let twice = |c: &mut TrainConfig| *link(c, 0) = link(c, 1).clone();
    assert_eq!(broken_by(twice), ["chain-signatures", "newest-link", "signatures-apart"]);
}

#[test]
fn a_route_that_no_stop_leaves_so_is_reported() {
    assert_eq!(broken_by(|c| c.result_hash = None), ["route-shape", "newest-link", "results-signature"]);
    let skipped = broken_by(|c| stop(c, 1).signature = None);
    assert!(skipped.contains(&"route-shape"), "{skipped:?}");
    let swapped = broken_by(|c| {
        (stop(c, 0).index, stop(c, 1).index) = (7, 0);
        stop(c, 7).index = 1;
    });
    assert_eq!(swapped, ["newest-link"], "the links are each signed, but not in this order");
    assert_eq!(broken_by(|c| stop(c, 2).index = 3), ["route-shape"]);
    let undone = broken_by(|c| (0..3).for_each(|index| stop(c, index).signature = None));
    assert_eq!(undone, ["route-shape"], "no stop has signed, and results are there");
}

#[test]
fn a_session_that_is_too_short_is_reported() {
    let broken = broken_by(|c| c.session_id = HexText::new("00ff"));
    assert_eq!(broken, ["session-id-length"]);
}

#[test]
fn a_key_that_cannot_be_wrapped_for_is_reported() {
    let broken = broken_by(|c| stop(c, 1).rsa_public_key = HexText::new("00"));
    assert_eq!(broken, ["chain-signatures", "route-keys-usable"]);
}

#[test]
fn what_does_not_belong_beside_the_config_is_reported() {
    let path = |path: &str| FilePath::new(path).unwrap();
    for (rule, change) in [
        (
            "listed-files-present",
            &(|found: &mut Found| {
                let whole = std::mem::take(&mut found.code);
                found.code.is_there = true;
                for name in whole.files().skip(1) {
                    found.file(true, name.clone(), 48, ShapeVerdict::Sealed);
                }
            }) as &dyn Fn(&mut Found),
        ),
        ("unlisted-files", &|found| found.file(true, path("__pycache__/x.pyc"), 48, ShapeVerdict::Sealed)),
        ("both-directories-present", &|found| found.results.is_there = false),
        ("both-directories-present", &|found| found.code.is_there = false),
        ("plain-names", &|found| found.breach(Rule::PlainNames, b"opt/pht_results/a\x1b")),
        ("unique-ordered-names", &|found| found.file(false, path("a/result"), 64, ShapeVerdict::Sealed)),
        ("no-links-or-special-files", &|found| found.breach(Rule::NoLinks, b"opt/pht_results/link")),
        ("sealed-lengths", &|found| found.file(false, path("plain"), 33, ShapeVerdict::NotSealed(""))),
        ("user-key", &|found| found.user_key.as_mut().unwrap()[3] ^= 1),
        ("no-plaintext-layers", &|found| found.file(false, path("plain"), 64, ShapeVerdict::NotSealed("it is text"))),
    ] {
        assert_eq!(broken_beside(change), [rule]);
    }
    assert_eq!(broken_by(|c| c.file_list.push("../x".into())), ["plain-names"]);
}

#[test]
fn a_user_key_before_the_first_run_is_reported() {
    let config = states().remove(0);
    let mut found = beside(&config);
    found.user_key = Some(vec![1; 256]);
    assert_eq!(broken(&prove(&config, found, None)), ["user-key"]);
}

#[test]
fn an_archive_without_the_code_gets_no_verdict_about_it() {
    let config = at_the_end();
    let mut found = beside(&config);
    (found.code, found.without_code) = (FoundDirectory::default(), true);
    let proof = prove(&config, found, None);
    assert_eq!(broken(&proof), [""; 0]);
    let of_code = [Rule::ListedFilesPresent, Rule::UnlistedFiles];
    let told = proof.report.findings();
    assert!(of_code.iter().all(|rule| told.iter().any(|f| f.rule == *rule && f.outcome == Outcome::NotCheckable)));
}

#[test]
fn a_trust_store_decides_over_the_stated_keys() {
    let config = at_the_end();
    let outcome = |trust: IsPinned<'_>| {
        let proof = prove(&config, beside(&config), Some(trust));
        broken(&proof)
    };
    assert_eq!(outcome(&|_, _| true), [""; 0]);
    assert_eq!(outcome(&|who, _| !matches!(who, KeyHolder::Creator(_))), ["creator-pinned"]);
    let one = config.route[1].station.clone();
    assert_eq!(outcome(&|who, _| who != KeyHolder::Station(&one)), ["stations-pinned"]);
}

#[test]
fn names_in_notes_are_few_short_and_harmless() {
    let mut names = NameSample::default();
    for name in [&b"a\x1b[2J\n"[..], &[0xff; 300], b"c", b"d", b"e"] {
        names.add(name);
    }
    let told = names.reported("file", "files");
    assert!(told.starts_with("5 files: a\\u{1b}[2J\\n, "), "{told}");
    assert!(told.is_ascii() && told.len() < 250 && told.ends_with(", c, ..."), "{told}");
}
