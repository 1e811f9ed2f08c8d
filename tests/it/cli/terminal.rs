//! What a person sees on a terminal of 80 columns.

use std::process::Command;

use super::{output, said};
use crate::support::{PROGRAM, Station, tamper::Scene};

/// What a command writes to a terminal of this width, without the carriage returns.
#[track_caller]
fn on_a_terminal(station: &Station, columns: u16, arguments: &[&str]) -> String {
    let quoted: Vec<String> = arguments.iter().map(|argument| format!("'{argument}'")).collect();
    let script = format!("stty cols {columns} rows 24 && '{PROGRAM}' {} 2>/dev/null", quoted.join(" "));
    let mut command = Command::new("script");
    command.envs(station.env()).env("TERM", "xterm").env_remove("NO_COLOR").args(["-qec", &script, "/dev/null"]);
    let done = command.stdin(std::process::Stdio::null()).output().expect("script of util-linux");
    assert!(done.status.code().is_some_and(|code| matches!(code, 0 | 8)), "{arguments:?}: {}", said(&done));
    String::from_utf8(done.stdout).unwrap().replace('\r', "")
}

fn without_colour(line: &str) -> String {
    line.replace("\u{1b}[31m", "").replace("\u{1b}[0m", "")
}

#[test]
fn tables_fit_the_terminal_and_break_no_fingerprint() {
    let scene = Scene::with(Station::start("a"));
    let station = &scene.station;
    let state = station.state().to_str().unwrap().to_owned();
    let access = station.state().join("access.toml").to_str().unwrap().to_owned();
    let trust = station.state().join("some-trust.toml").to_str().unwrap().to_owned();
    let pem = station.state().join("a.pem").to_str().unwrap().to_owned();
    output(&mut station.client_command(&["key", "export", "a", "-o", &pem]));
    let id = "5d9e4f0c-6d0a-4b57-9d52-5f6f3a0c7f10";
    output(Command::new(PROGRAM).args([
        "trust",
        "add",
        "creator",
        id,
        "--key",
        &pem,
        "--comment",
        "read by phone",
        "--file",
        &trust,
    ]));
    let fingerprint = station.key("a").unwrap().fingerprint;
    let run = scene.pre_run().unwrap().run_id;
    let image = scene.train.image.as_str();

    for (arguments, whole) in [
        (&["key", "list"][..], fingerprint.as_str()),
        (&["key", "show", "a"], &fingerprint),
        (&["trust", "list", "--file", &trust], &fingerprint),
        (&["access", "list", "--file", &access], "role officer"),
        (&["audit", "show", "--state", &state], run.as_str()),
        (&["run", "list", "--state", &state], &run),
        (&["run", "show", &run, "--state", &state], &run),
        (&["train", "verify", image], "Verdict"),
        (&["train", "inspect", image], &fingerprint),
        (&["train", "check-push", image], "Verdict"),
    ] {
        for columns in [80, 120] {
            let shown = on_a_terminal(station, columns, arguments);
            for line in shown.lines().map(without_colour) {
                assert!(line.chars().count() <= usize::from(columns), "{arguments:?} at {columns}: {line}\n{shown}");
            }
            assert!(shown.contains(whole), "{arguments:?} at {columns}: {whole} is broken\n{shown}");
        }
    }
    // What counts stands where the terminal stops, and stands out.
    let shown = on_a_terminal(station, 80, &["train", "verify", image]);
    assert!(
        shown.trim_end().lines().last().is_some_and(|line| line.contains("Verdict") && line.starts_with('\u{1b}')),
        "{shown}"
    );
    // A record takes two lines, not four.
    let shown = on_a_terminal(station, 80, &["audit", "show", "--state", &state]);
    let records = super::json(station, &["audit", "show", "--state", &state])["records"].as_array().unwrap().len();
    assert!(shown.lines().count() <= 3 * records, "{} lines for {records} records\n{shown}", shown.lines().count());
    // A pipe has no width, and gets whole lines.
    let piped = output(&mut station.client_command(&["audit", "show", "--state", &state]));
    assert!(piped.lines().any(|line| line.chars().count() > 120) && !piped.contains('\u{1b}'), "{piped}");
}

#[test]
fn no_text_of_a_train_controls_the_terminal() {
    let scene = Scene::with(Station::start("a"));
    let mut rootfs = scene.rootfs();
    let spoof = "honest\u{202e}tset\u{2066}x\u{2028}y\u{9b}2J\u{7f}";
    let mut config = rootfs.config();
    config["creator"]["id"] = spoof.into();
    *rootfs.content("opt/train_config.json") = config.to_string().into_bytes();
    rootfs.put(&scene.engine, &scene.train.repository, "spoofed");
    let image = format!("{}:spoofed", scene.train.repository);
    for arguments in [&["train", "inspect", &image][..], &["train", "inspect", &image, "--output", "json"]] {
        let done = scene.station.client_command(arguments).output().unwrap();
        let text = said(&done);
        assert!(done.status.success() && text.contains("honest"), "{text}");
        for unseen in ['\u{202e}', '\u{2066}', '\u{2028}', '\u{9b}', '\u{7f}'] {
            assert!(!text.contains(unseen), "{arguments:?}: {unseen:?} reaches the terminal");
        }
    }
    assert_eq!(super::json(&scene.station, &["train", "inspect", &image])["creator_id"], spoof, "JSON means something else");
}
