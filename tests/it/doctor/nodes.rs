//! The page about `doctor` and the code name the same nodes.

use std::{collections::BTreeSet, fs, path::Path};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Returns the nodes of the table in `docs/doctor.md`.
fn documented() -> BTreeSet<String> {
    let text = fs::read_to_string(Path::new(ROOT).join("docs/doctor.md")).unwrap();
    let row = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    text.lines().filter_map(row).collect()
}

/// Returns the nodes that the code makes: each is made with its name.
fn made() -> BTreeSet<String> {
    let mut files = vec![Path::new(ROOT).join("src/cli/doctor.rs"), Path::new(ROOT).join("src/cli/token/trial.rs")];
    files.extend(fs::read_dir(Path::new(ROOT).join("src/checks")).unwrap().map(|entry| entry.unwrap().path()));
    let mut names = BTreeSet::new();
    for file in files {
        let text: String = fs::read_to_string(&file).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        let starts = [
            "CheckNode::new(",
            "CheckNode::skipped(",
            "CheckNode::group(",
            "of_error(",
            "directory(",
            "skipped(",
            "const WHAT: &str = ",
            "let what = ",
            "if of_audit { ",
            "} else { ",
            "[(",
            "), (",
        ];
        for start in starts {
            let names_here = text.split(start).skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"')?.split_once('"'));
            let is_name = |name: &str| {
                name.starts_with(char::is_uppercase) && name.chars().all(|letter| letter.is_alphabetic() || letter == ' ')
            };
            names.extend(
                names_here.map(|(name, _)| name).filter(|name| is_name(name)).map(|name| name.to_lowercase().replace(' ', "-")),
            );
        }
    }
    names
}

#[test]
fn the_page_and_the_code_have_the_same_nodes() {
    assert_eq!(documented(), made());
}
