//! Manual pages and completions: of every command, readable by the programs they are for.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use crate::support::PROGRAM;

fn made(arguments: &[&str]) -> Vec<u8> {
    let done = Command::new(PROGRAM).args(arguments).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    done.stdout
}

/// The commands that a command's help lists.
fn commands(of: &[&str]) -> Vec<String> {
    let help = String::from_utf8(made(&[of, &["--help"]].concat())).unwrap();
    let Some((_, list)) = help.split_once("Commands:\n") else { return Vec::new() };
    let listed = list.lines().take_while(|line| line.starts_with("  "));
    let names = listed.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

fn every_command() -> BTreeSet<Vec<String>> {
    let mut all = BTreeSet::from([Vec::new()]);
    let mut waiting: Vec<Vec<String>> = vec![Vec::new()];
    while let Some(of) = waiting.pop() {
        for name in commands(&of.iter().map(String::as_str).collect::<Vec<_>>()) {
            let one = [of.clone(), vec![name]].concat();
            all.insert(one.clone());
            waiting.push(one);
        }
    }
    all
}

#[test]
fn every_command_has_a_manual_page_that_groff_reads_without_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    made(&["man", directory.path().to_str().unwrap()]);
    let pages: BTreeSet<String> =
        fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let all = every_command();
    assert!(all.len() > 60, "{all:?}");
    let expected: BTreeSet<String> =
        all.iter().map(|words| format!("{}.1", [&["stationmaster".into()], &words[..]].concat().join("-"))).collect();
    assert_eq!(pages, expected);
    for page in &pages {
        let path = directory.path().join(page);
        let read = Command::new("groff")
            .args(["-k", "-man", "-ww", "-z", "-Tutf8"])
            .arg(&path)
            .output()
            .expect("groff: run `make test`");
        assert!(read.status.success() && read.stderr.is_empty(), "{page}: {}", String::from_utf8_lossy(&read.stderr));
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains(".SH \"EXIT STATUS\"") && text.contains("stationmaster"), "{page}");
    }
}

#[test]
fn bash_completes_every_command_and_its_options() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("stationmaster");
    fs::write(&script, made(&["completions", "bash"])).unwrap();
    for words in every_command() {
        let line: Vec<&str> = std::iter::once("stationmaster").chain(words.iter().map(String::as_str)).collect();
        if let Some(last) = words.last() {
            let begun = &last[..last.len() - 1];
            let found = completed(&script, &line[..line.len() - 1], begun);
            assert!(found.contains(last), "{line:?}: {found:?}");
        }
        let options = completed(&script, &line, "--");
        assert!(options.contains("--help"), "{line:?}: {options:?}");
    }
    assert!(completed(&script, &["stationmaster", "key", "generate"], "--pu").contains("--purpose"));
}

/// What bash proposes for a word after these.
fn completed(script: &Path, before: &[&str], begun: &str) -> BTreeSet<String> {
    let words = [before, &[begun]].concat();
    let code = "source \"$1\"; shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
                _stationmaster stationmaster \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD - 1]}\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let done = Command::new("bash").args(["--norc", "-c", code, "bash"]).arg(script).args(words).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    String::from_utf8(done.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn scripts_for_other_shells_name_the_commands() {
    for shell in ["zsh", "fish"] {
        let script = String::from_utf8(made(&["completions", shell])).unwrap();
        assert!(script.contains("pre-run") && script.contains("idempotency-key"), "{shell}");
    }
}
