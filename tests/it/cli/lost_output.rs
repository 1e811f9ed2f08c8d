//! Output that cannot be written is an error of the command; a reader that has seen enough is none.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    process::{Command, Stdio},
};

use super::said;
use crate::support::{PROGRAM, Station, tamper::Scene};

/// Names of commands that `--help` lists, each with those above it.
fn commands(above: &[&str]) -> Vec<String> {
    let help = Command::new(PROGRAM).args(above).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let Some((_, list)) = help.split_once("\nCommands:\n") else { return vec![above.join(" ")] };
    let names =
        list.lines().take_while(|line| !line.is_empty()).filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names: Vec<&str> = names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect();
    assert!(!names.is_empty(), "{help}");
    names.into_iter().flat_map(|name| commands(&[above, &[name]].concat())).collect()
}

/// Commands that print what they found: each with its arguments, and the exit code when it is heard.
fn printing(scene: &Scene) -> Vec<(Vec<String>, i32)> {
    let station = &scene.station;
    let state = station.state().to_str().unwrap().to_owned();
    let at = |name: &str| station.state().join(name).to_str().unwrap().to_owned();
    let image = scene.train.image.clone();
    fs::write(at("message"), "a message").unwrap();
    let exported = station.client_command(&["key", "export", "a", "-o", &at("a.pem")]).output().unwrap();
    assert!(exported.status.success(), "{}", said(&exported));
    let exported = station.client_command(&["key", "export", "audit", "-o", &at("audit.pem")]).output().unwrap();
    assert!(exported.status.success(), "{}", said(&exported));
    let trusted = Command::new(PROGRAM)
        .args(["trust", "add", "station", "a", "--key", &at("a.pem"), "--file", &at("some-trust.toml")])
        .output()
        .unwrap();
    assert!(trusted.status.success(), "{}", said(&trusted));
    let (access, trust) = (at("access.toml"), at("some-trust.toml"));
    let me = format!("unix:uid={}", rustix::process::geteuid().as_raw());
    let saved = at("train.tar");
    let done = Command::new("docker").args(["save", "-o", &saved, &image]).output().unwrap();
    assert!(done.status.success(), "{}", said(&done));
    let run = scene.pre_run().unwrap().run_id;
    let all: [(&str, i32); 29] = [
        ("key list", 0),
        ("key show a", 0),
        ("key export a", 0),
        (&format!("key list --state {state}"), 0),
        (&format!("token show --state {state}"), 0),
        (&format!("access list --file {access}"), 0),
        (&format!("access check {me} PreRun --file {access}"), 0),
        (&format!("audit tail --state {state}"), 0),
        (&format!("audit show --state {state}"), 0),
        (&format!("audit export --state {state}"), 0),
        (&format!("audit export --format ocsf --state {state}"), 0),
        (&format!("audit verify {state}/audit/service --key {}", at("audit.pem")), 0),
        (&format!("trust list --file {trust}"), 0),
        (&format!("trust export --file {trust}"), 0),
        (&format!("trust verify --file {trust}"), 0),
        (&format!("run list --state {state}"), 0),
        (&format!("run show {run} --state {state}"), 0),
        ("health", 0),
        ("completions bash", 0),
        (&format!("hash --train-only {image}"), 0),
        (&format!("sign --key a-general --scheme rsa-pss-sha256 {}", at("message")), 0),
        (&format!("train inspect {image}"), 0),
        (&format!("train inspect --place {saved}"), 0),
        (&format!("train verify --archive {saved}"), 0),
        (&format!("train pre-run {image}"), 0),
        // An opened train may not leave.
        (&format!("train check-push {image}"), 8),
        (&format!("image validate --place {saved} --master-place {saved}"), 0),
        (&format!("train verify {image}"), 8),
        (&format!("train abort {run}"), 0),
    ];
    all.into_iter().map(|(line, exit)| (line.split(' ').map(str::to_owned).collect(), exit)).collect()
}

/// Commands that are not run here: they make, change or serve something, ask a person, or write into a directory. What they print goes the same
/// way, as `standard_output_is_written_in_one_place` shows.
const ELSEWHERE: [&str; 49] = [
    "serve",
    "token init",
    "pin change",
    "pin set",
    "pin unblock",
    "doctor",
    "token list",
    "token self-test",
    "token status",
    "audit archive",
    "key activate",
    "key generate",
    "key import",
    "key retire",
    "key rotate",
    "key verify",
    "key destroy",
    "train post-run",
    "train results",
    "train open",
    "approval list",
    "approval show",
    "approval approve",
    "approval reject",
    "approval accept-officers",
    "ceremony start",
    "ceremony status",
    "ceremony finish",
    "ceremony abort",
    "ceremony verify",
    "access allow",
    "access revoke",
    "trust add creator",
    "trust add station",
    "trust add master",
    "trust remove creator",
    "trust remove station",
    "trust remove master",
    "trust import",
    "run abandon",
    "run allow-again",
    "run forget-session",
    "run prune",
    "state accept-loss",
    "config check",
    "state backup",
    "state restore",
    "unwrap",
    "help",
];

#[test]
fn a_full_disk_fails_every_command_that_prints_and_a_closed_pipe_none() {
    let scene = Scene::with(Station::start("a"));
    let printing = printing(&scene);
    let tried: BTreeSet<String> = printing.iter().map(|(line, _)| line.join(" ")).collect();
    let known =
        |name: &str| ELSEWHERE.contains(&name) || tried.iter().any(|line| line.starts_with(&format!("{name} ")) || line == name);
    let missed: Vec<String> = commands(&[]).into_iter().filter(|name| !known(name)).collect();
    assert!(missed.is_empty(), "commands that nothing tries: {missed:?}");

    for (line, exit) in printing {
        let arguments: Vec<&str> = line.iter().map(String::as_str).collect();
        let ends_all = arguments.starts_with(&["train", "abort"]);
        for format in ["table", "json"] {
            let run = |stdout: Stdio| {
                let mut command = scene.station.client_command(&arguments);
                command.args(["--output", format]).stdout(stdout).output().expect("the program")
            };
            let full = run(File::options().write(true).open("/dev/full").unwrap().into());
            let error = String::from_utf8(full.stderr).unwrap();
            let lost = if exit == 0 { 1 } else { exit };
            assert_eq!(full.status.code(), Some(lost), "{line:?} {format}: {error}");
            assert!(error.contains("cannot write to standard output: No space left on device"), "{line:?} {format}: {error}");

            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let closed = run(writer.into());
            assert_eq!(closed.status.code(), Some(exit), "{line:?} {format}: {}", said(&closed));
            assert_eq!(String::from_utf8(closed.stderr).unwrap(), "", "{line:?} {format}");
            if ends_all {
                break;
            }
        }
    }
}

#[test]
fn help_and_a_failure_for_programs_are_not_lost_in_silence() {
    let full = |arguments: &[&str]| {
        let stdout = File::options().write(true).open("/dev/full").unwrap();
        Command::new(PROGRAM).args(arguments).stdout(stdout).output().unwrap()
    };
    for arguments in [&["--help"][..], &["train", "pre-run", "--help"], &["--version"]] {
        assert_eq!(full(arguments).status.code(), Some(1), "{arguments:?}: {}", said(&full(arguments)));
    }
    let failed = full(&["config", "check", "--config", "/no/such/file", "--output", "json"]);
    assert_eq!(failed.status.code(), Some(3));
    assert!(said(&failed).contains("/no/such/file"), "the failure is told nowhere: {}", said(&failed));
}

#[test]
fn a_log_that_is_followed_ends_with_its_reader() {
    let station = Station::start("a");
    let state = station.state().to_str().unwrap();
    for format in ["table", "json"] {
        let mut command = station.client_command(&["audit", "tail", "-f", "--state", state, "--output", format]);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let done = command.stdout(Stdio::from(writer)).output().unwrap();
        assert!(done.status.success() && done.stderr.is_empty(), "{}", said(&done));
    }
}

#[test]
fn standard_output_is_written_in_one_place() {
    fn walk(directory: &str, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.to_str().unwrap().to_owned();
            if path.is_dir() {
                walk(&name, found);
            } else if name.ends_with(".rs") {
                found.push((name.clone(), fs::read_to_string(&name).unwrap()));
            }
        }
    }
    let mut sources = Vec::new();
    walk(concat!(env!("CARGO_MANIFEST_DIR"), "/src"), &mut sources);
    // The demonstration is a program of its own and no library writes to it.
    for library in ["image", "keystore", "proto", "system", "train"] {
        walk(&format!("{}/crates/{library}/src", env!("CARGO_MANIFEST_DIR")), &mut sources);
    }
    assert!(sources.iter().any(|(name, text)| name.ends_with("src/cli/output/sink.rs") && text.contains("io::stdout()")));
    for (name, text) in sources {
        if name.ends_with("src/cli/output/sink.rs") || name.contains("/tests") || name.ends_with("tests.rs") {
            continue;
        }
        let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
        for line in code.filter(|line| line.contains("stdout()") || line.contains(" println!(") || line.contains(" print!(")) {
            // To ask what it is writes nothing; clap prints its help itself.
            let asks =
                line.contains("is_terminal()") || line.contains("tcgetwinsize(") || line.contains("text.print().and_then(");
            assert!(asks, "{name} writes to standard output by itself: {line}");
        }
    }
}
