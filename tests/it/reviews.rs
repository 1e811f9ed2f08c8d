//! `docs/reviews.md` answers every finding, and every test that it names exists.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The ids of the three documents.
fn findings() -> BTreeSet<String> {
    let security = (1..=30).map(|number| format!("SR {number}"));
    let first_use = (1..=53).map(|number| format!("FU {number}"));
    let more = ["FU 8b", "FU 8c", "FU tables", "FU language", "FU absent", "FU peers"].map(str::to_owned);
    let field = [1, 3, 4, 6, 8, 9, 11, 12, 13, 15, 16, 17, 19, 20, 23, 25, 26, 27, 31, 32];
    security.chain(first_use).chain(more).chain(field.map(|number| format!("FR {number}"))).collect()
}

/// The cells of each row, by finding.
fn rows() -> BTreeMap<String, Vec<String>> {
    let text = fs::read_to_string(Path::new(ROOT).join("docs/reviews.md")).expect("docs/reviews.md");
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| ["| SR ", "| FU ", "| FR "].iter().any(|start| line.starts_with(start))) {
        let cells: Vec<String> = line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
        assert_eq!(cells.len(), 4, "finding, kind, tests, what changed: {line}");
        assert!(rows.insert(cells[0].clone(), cells.clone()).is_none(), "two rows: {}", cells[0]);
    }
    rows
}

/// Every file of Rust with tests, and its text.
fn sources() -> Vec<(PathBuf, String)> {
    fn walk(directory: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("text");
                // Below the root: where the checkout lies is no module.
                found.push((path.strip_prefix(ROOT).expect("below the root").to_owned(), text));
            }
        }
    }
    let mut found = Vec::new();
    for directory in ["src", "crates", "tests", "fuzz/src"] {
        walk(&Path::new(ROOT).join(directory), &mut found);
    }
    found
}

/// Whether a test of this name is in the file that its module path leads to.
fn exists(sources: &[(PathBuf, String)], named: &str) -> bool {
    let (module, function) = named.rsplit_once("::").unwrap_or(("", named));
    let file = module.rsplit("::").find(|part| *part != "tests").unwrap_or_default();
    let has_module = |path: &Path| {
        let path = path.to_str().expect("UTF-8").trim_end_matches(".rs").replace('/', "::");
        module.is_empty() || path.ends_with(module) || path.split("::").any(|part| part == file)
    };
    sources.iter().any(|(path, text)| has_module(path) && text.contains(&format!("fn {function}(")))
}

#[test]
fn every_finding_has_a_row_and_every_test_it_names_exists() {
    let rows = rows();
    let expected = findings();
    let missing: Vec<_> = expected.iter().filter(|finding| !rows.contains_key(*finding)).collect();
    assert!(missing.is_empty(), "without a row: {missing:?}");
    let unknown: Vec<_> = rows.keys().filter(|finding| !expected.contains(*finding)).collect();
    assert!(unknown.is_empty(), "no such finding: {unknown:?}");
    let sources = sources();
    for (finding, cells) in &rows {
        for named in cells[2].split('`').skip(1).step_by(2) {
            assert!(exists(&sources, named), "{finding} names a test that is not there: {named}");
        }
        assert!(cells.iter().all(|cell| !cell.is_empty()), "{finding} has an empty cell");
    }
}
