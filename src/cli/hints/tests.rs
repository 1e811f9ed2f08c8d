use super::*;

#[test]
fn every_reason_has_a_hint() {
    for &reason in Reason::ALL {
        assert!(!text(reason).is_empty(), "{}", reason.name());
    }
}

fn failure(reason: Reason, metadata: &[(&str, &str)]) -> Failure {
    let metadata = metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Failure {
        code: reason.code(),
        reason: Some(reason),
        reason_name: Some(reason.name().to_owned()),
        message: String::new(),
        metadata,
        retry_after: None,
    }
}

#[test]
fn a_broken_rule_has_a_hint_of_its_own_and_its_refusal_is_named() {
    let hint_of = |rule: &str| {
        let hint = hint(&failure(Reason::ImagePolicyViolation, &[("rule", rule), ("refusal_id", "0196-x")])).unwrap();
        assert!(hint.ends_with("`audit show --refusal 0196-x`"), "{hint}");
        hint
    };
    let mut rules = std::collections::BTreeMap::<String, Vec<&str>>::new();
    for rule in ["plain-names", "no-links-or-special-files", "both-directories-present", "immutable-files-unchanged"] {
        rules.entry(hint_of(rule)).or_default().push(rule);
    }
    for rule in ["no-volumes-over-the-train", "image-of-this-run", "at-rest-while-read", "of-a-later-version"] {
        rules.entry(hint_of(rule)).or_default().push(rule);
    }
    assert_eq!(rules.len(), 8, "two rules share a hint: {rules:?}");
}

#[test]
fn the_page_of_errors_names_every_rule_and_every_reason() {
    let page = include_str!("../../../docs/errors.md");
    let absent = |name: &str| !page.contains(&format!("`{name}`")) && !page.contains(&format!("| {name} |"));
    let missing: Vec<_> = Rule::ALL
        .iter()
        .map(|rule| rule.name())
        .chain(Reason::ALL.iter().map(|reason| reason.name()))
        .filter(|name| absent(name))
        .collect();
    assert!(missing.is_empty(), "docs/errors.md lacks {missing:?}");
    // And it names no rule that does not exist.
    let (_, table) = page.split_once("| rule | what it says | when |").expect("the table of rules");
    for row in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let name = row.split('`').nth(1).expect("a rule");
        assert!(Rule::from_name(name).is_some(), "docs/errors.md names {name:?}, which is no rule");
    }
}

#[test]
fn the_hint_names_the_refused_principal() {
    let hint = hint(&failure(Reason::RpcNotAllowed, &[("principal", "unix:uid=1000"), ("rpc", "PreRun")])).unwrap();
    assert!(hint.contains("access allow unix:uid=1000 --rpc PreRun"), "{hint}");
}

#[test]
fn a_file_in_a_directory_that_is_not_there_names_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let hint = of_file(&directory.path().join("absent/file"), &io::ErrorKind::NotFound.into()).unwrap();
    assert!(hint.contains("mkdir -p") && hint.contains("absent"), "{hint}");
}
