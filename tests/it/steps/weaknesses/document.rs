//! `docs/weaknesses.md` says nothing that is not there: every number has its row, every test and every rule it names exists.

use std::{collections::BTreeMap, fs, path::Path};

use stationmaster_train::rule::Rule;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// How a row ends.
const VERDICTS: [&str; 4] = ["closed", "partly", "cannot on this wire", "open"];

/// The cells of the rows that begin with a number.
fn rows(document: &str) -> BTreeMap<u32, Vec<String>> {
    let mut rows = BTreeMap::new();
    for line in document.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<String> = line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
        if let Ok(number) = cells[0].parse() {
            assert!(rows.insert(number, cells).is_none(), "two rows for {number}");
        }
    }
    rows
}

/// What stands between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Whether there is a test of that path: `it::…` below `tests`, anything else below `src`, or in the crate that it begins with.
fn exists(test: &str) -> bool {
    let Some((module, name)) = test.rsplit_once("::") else { return false };
    let (first, rest) = module.split_once("::").unwrap_or((module, ""));
    let in_crate = Path::new(ROOT).join("crates").join(first).join("src");
    let module = match first {
        "it" => Path::new(ROOT).join("tests").join(module.replace("::", "/")),
        _ if in_crate.exists() => in_crate.join(rest.replace("::", "/")),
        _ => Path::new(ROOT).join("src").join(module.replace("::", "/")),
    };
    // A case of the suite of tokens is listed by its parent.
    let listed = || -> Option<bool> {
        let list = fs::read_to_string(module.parent()?.with_extension("rs")).ok()?;
        let case = format!("{}::{name} => ", module.file_name()?.to_str()?);
        Some(list.lines().any(|line| line.trim().starts_with(&case)))
    };
    if listed() == Some(true) {
        return true;
    }
    // A module is a file, or the `tests` at the end of its parent's file.
    let within = module.parent().filter(|_| module.ends_with("tests")).map(Path::to_owned);
    [Some(module), within].into_iter().flatten().any(|module| {
        let text = fs::read_to_string(module.with_extension("rs")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let is_named = |line: &str| {
            line.trim_start_matches("pub ")
                .trim_start_matches("async ")
                .strip_prefix("fn ")
                .is_some_and(|rest| rest.starts_with(&format!("{name}(")))
        };
        lines.iter().enumerate().any(|(at, line)| {
            let mut attributes = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
            is_named(line) && attributes.any(|line| line.contains("test"))
        })
    })
}

#[test]
fn a_test_is_found_only_where_it_is() {
    assert!(exists("it::steps::weaknesses::document::a_test_is_found_only_where_it_is"));
    assert!(
        exists("train::rule::tests::only_what_may_be_switched_can_be") && exists("train::verify::tests::changed_code_is_refused")
    );
    // Neither a function that is no test, nor a test of another module.
    for absent in [
        "it::steps::weaknesses::document::exists",
        "it::steps::weaknesses::document::no_such_test",
        "it::steps::weaknesses::code::no_anchor",
        "no_module::x",
        "alone",
    ] {
        assert!(!exists(absent), "{absent}");
    }
}

#[test]
fn every_weakness_has_its_row_and_every_row_is_true() {
    let document = fs::read_to_string(Path::new(ROOT).join("docs/weaknesses.md")).expect("docs/weaknesses.md");
    let rows = rows(&document);
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), (1..=44).collect::<Vec<_>>());
    let mut sum = BTreeMap::<&str, usize>::new();
    for (number, cells) in &rows {
        let [_, _, closes, tests, observed, verdict] = &cells[..] else { panic!("{number}: {} cells", cells.len()) };
        assert!(observed.len() > 10, "{number}: nothing was observed");
        let verdict = VERDICTS.iter().find(|known| *known == verdict).unwrap_or_else(|| panic!("{number}: {verdict:?}"));
        *sum.entry(verdict).or_default() += 1;
        for rule in quoted(closes) {
            assert!(Rule::from_name(rule).is_some(), "{number}: no rule is called {rule}");
        }
        for test in quoted(tests) {
            assert!(exists(test), "{number}: there is no test {test}");
        }
        let open = verdict.starts_with("open");
        assert!(open || quoted(tests).next().is_some(), "{number}: {verdict}, says no test");
    }
    for (verdict, count) in sum {
        let line = format!("* **{verdict}: {count}**");
        assert!(document.contains(&line), "the sum lacks {line:?}");
    }
}
