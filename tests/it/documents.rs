//! What the documents point to exists: links and anchors, files, commands and their options, settings.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path, PathBuf},
    process::{Command, Output},
};

use stationmaster::config::Config;

use crate::{cli::said, support::PROGRAM};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The documents, by their paths below the root, with long lines of shell in one.
fn documents() -> BTreeMap<PathBuf, String> {
    let mut paths: Vec<PathBuf> = ["README.md", "SECURITY.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(PathBuf::from).into();
    for directory in ["docs", "deploy"] {
        let entries = fs::read_dir(Path::new(ROOT).join(directory)).expect("a directory");
        paths.extend(entries.map(|entry| Path::new(directory).join(entry.expect("an entry").file_name())));
    }
    let is_text =
        |path: &PathBuf| path.extension().is_some_and(|end| ["md", "toml", "service", "conf"].iter().any(|text| end == *text));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(Path::new(ROOT).join(&path)).expect("text");
        (path, text.replace("\\\n", " "))
    };
    let all: BTreeMap<_, _> = paths.into_iter().filter(is_text).map(read).collect();
    assert!(all.len() > 20, "documents are missing: {:?}", all.keys());
    all
}

/// Code spans of a text.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// The anchors that GitHub gives the headings of a document.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen = BTreeMap::<String, usize>::new();
    let mut all = BTreeSet::new();
    for heading in
        text.lines().filter(|line| line.starts_with('#')).filter_map(|line| line.split_once("# ").map(|(_, text)| text))
    {
        let kept = heading.to_lowercase().replace(' ', "-");
        let slug: String = kept.chars().filter(|c| c.is_alphanumeric() || ['-', '_'].contains(c)).collect();
        let count = seen.entry(slug.clone()).or_default();
        all.insert(if *count == 0 { slug } else { format!("{slug}-{count}") });
        *count += 1;
    }
    all
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

#[test]
fn every_link_and_anchor_leads_somewhere() {
    let documents = documents();
    let (mut broken, mut seen) = (Vec::new(), 0);
    for (path, text) in documents.iter().filter(|(path, _)| path.extension().is_some_and(|end| end == "md")) {
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") || target.contains(char::is_whitespace) {
                continue;
            }
            seen += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let leads_to = if file.is_empty() { path.clone() } else { plain(&path.with_file_name("").join(file)) };
            let has_anchor = || documents.get(&leads_to).is_some_and(|text| anchors(text).contains(anchor));
            if !Path::new(ROOT).join(&leads_to).exists() || !(anchor.is_empty() || has_anchor()) {
                broken.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(seen > 60, "only {seen} links were seen");
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn every_file_of_the_repository_that_a_document_names_exists() {
    let (mut missing, mut seen) = (Vec::new(), 0);
    for (path, text) in documents() {
        for name in spans(&text).filter(|span| !span.contains(|c: char| " {}*<>…$|".contains(c))) {
            if !["docs/", "deploy/", "src/", "crates/", "tests/", "scripts/"].iter().any(|top| name.starts_with(top)) {
                continue;
            }
            seen += 1;
            if !Path::new(ROOT).join(name.trim_end_matches('/')).exists() {
                missing.push(format!("{}: {name}", path.display()));
            }
        }
    }
    assert!(seen > 30, "only {seen} names were seen");
    assert!(missing.is_empty(), "files that do not exist:\n{}", missing.join("\n"));
}

fn run(words: &[&str]) -> Output {
    Command::new(PROGRAM).args(words).env_clear().output().expect("the program")
}

/// The help of commands, asked for once.
#[derive(Default)]
struct Helps(BTreeMap<String, String>);

impl Helps {
    fn of(&mut self, command: &[&str]) -> &str {
        self.0.entry(command.join(" ")).or_insert_with(|| {
            let done = run(&[command, &["--help"]].concat());
            assert!(done.status.success(), "{command:?}: {}", said(&done));
            String::from_utf8(done.stdout).expect("text")
        })
    }

    /// The commands below a command.
    fn below(&mut self, command: &[&str]) -> BTreeSet<String> {
        let help = self.of(command);
        let list = help.split_once("\nCommands:\n").map_or("", |(_, list)| list);
        let names = list.lines().take_while(|line| line.is_empty() || line.starts_with(' '));
        names
            .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// Whether a command, or one below it, has an option.
    fn has_option(&mut self, command: &[&str], option: &str) -> bool {
        let has = |help: &str| help.split(|c: char| c != '-' && !c.is_ascii_alphanumeric()).any(|word| word == option);
        if has(self.of(command)) {
            return true;
        }
        self.below(command).iter().filter(|name| *name != "help").any(|name| has(self.of(&[command, &[name]].concat())))
    }
}

/// The words of a command line of the program in a piece of shell; no words where there is none.
fn arguments(piece: &str) -> Vec<String> {
    let mut words: Vec<&str> = piece.split(" #").next().unwrap_or_default().split_whitespace().collect();
    let is_program = |word: &str| {
        word == "as_service" || word.trim_start_matches("ExecStart=").split('/').next_back() == Some("stationmaster")
    };
    let at = (0..words.len()).find(|at| is_program(words[*at]) && (*at == 0 || ["--", "do", "#"].contains(&words[at - 1])));
    let Some(at) = at else { return Vec::new() };
    words.drain(..=at);
    let end = words.iter().position(|word| word.starts_with('>') || *word == "}").unwrap_or(words.len());
    words[..end].iter().filter(|word| **word != "…").map(|word| word.trim_matches(['\'', '"']).to_owned()).collect()
}

/// What stands in `$(…)` is some word.
fn without_substitutions(line: &str) -> String {
    let mut parts = line.split("$(");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |line, part| line + "0" + part.split_once(')').map_or("", |(_, rest)| rest))
}

#[test]
fn every_command_line_in_a_block_is_one_that_the_program_takes() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (path, text) in documents() {
        let is_markdown = path.extension().is_some_and(|end| end == "md");
        for line in text.lines().filter(|line| !is_markdown || line.starts_with("    ")) {
            for piece in without_substitutions(line).split(['|', ';', '&']) {
                let words = arguments(piece);
                if words.is_empty() || words.iter().any(|word| word.contains("$@")) {
                    continue;
                }
                seen += 1;
                // Help is shown where everything before it is taken.
                let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
                words.push("--help");
                let done = run(&words);
                if !done.status.success() {
                    wrong.push(format!("{}: {}: {}", path.display(), words.join(" "), said(&done)));
                }
            }
        }
    }
    assert!(seen > 35, "only {seen} command lines were seen");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_command_and_option_in_a_sentence_or_table_exists() {
    let mut helps = Helps::default();
    let top = helps.below(&[]);
    assert!(top.len() > 12, "{top:?}");
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (path, text) in documents() {
        for span in spans(&text).map(|span| span.replace("\\|", "|")) {
            let span = span.trim_start_matches("stationmaster ");
            let mut words = span.split_whitespace();
            let Some(first) = words.next().filter(|word| top.contains(*word)) else { continue };
            let below = helps.below(&[first]);
            let commands: Vec<Vec<&str>> = match words.next() {
                _ if below.is_empty() => vec![vec![first]],
                // A name alone is a word like any other: `state`, `key`.
                None | Some("…") => continue,
                Some(names) => names.split('|').map(|name| vec![first, name]).collect(),
            };
            for command in commands {
                if !below.is_empty() && !below.contains(command[1]) {
                    wrong.push(format!("{}: {span}: no such command", path.display()));
                    continue;
                }
                let options = span.split(|c: char| c != '-' && !c.is_ascii_alphanumeric()).filter(|word| {
                    word.strip_prefix("--").is_some_and(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
                });
                for option in options {
                    seen += 1;
                    if !helps.has_option(&command, option) {
                        wrong.push(format!("{}: {span}: {command:?} has no {option}", path.display()));
                    }
                }
            }
        }
    }
    assert!(seen > 80, "only {seen} options were seen");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_settings_for_a_hardware_hsm_are_a_configuration() {
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).expect("README.md");
    let block = |from: &str, until: &str| {
        let (_, rest) = readme.split_once(from).unwrap_or_else(|| panic!("no {from:?} in README"));
        let (block, _) = rest.split_once(until).unwrap_or_else(|| panic!("no {until:?} in README"));
        block.lines().map(str::trim).collect::<Vec<_>>().join("\n")
    };
    let with_softhsm: toml::Table = block("stationmaster.toml <<'END'\n", "       END\n").parse().expect("TOML");
    let of_an_hsm: toml::Table = format!("[token]\n{}", block("\n    [token]\n", "\n\n")).parse().expect("TOML");
    let mut config = with_softhsm.clone();
    config.extend(of_an_hsm);
    assert_ne!(config, with_softhsm);
    for config in [config, with_softhsm] {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(&file, config.to_string()).expect("written");
        Config::load(file.path()).unwrap_or_else(|error| panic!("{error}:\n{config}"));
    }
}
