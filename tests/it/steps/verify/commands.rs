//! `train verify` and `train check-push`, as people and programs use them.

use std::{
    fs,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    cli::{last_line, said},
    support::{
        Station,
        tamper::{Scene, fetched, flip_hex, saved},
    },
};

/// The program alone: no service, no engine, nothing in the environment.
fn alone(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stationmaster"));
    command.env_clear().args(arguments).stdin(Stdio::null());
    command
}

#[track_caller]
fn answer(command: &mut Command, exit: i32) -> Value {
    let done = command.args(["--output", "json"]).output().expect("the program");
    assert_eq!(done.status.code(), Some(exit), "{}", said(&done));
    last_line(&String::from_utf8(done.stdout).unwrap())
}

fn tampered(scene: &Scene) -> crate::support::tamper::Rootfs {
    let mut rootfs = scene.rootfs();
    rootfs.edit_config(|config| flip_hex(&mut config["build"]["signature"]));
    rootfs
}

#[test]
fn verify_answers_the_same_with_and_without_a_service() {
    let scene = Scene::set();
    let image = scene.train.image.as_str();
    let file = scene.train.directory().join("opt.tar");
    fs::write(&file, fetched(&scene.engine, image, "/opt")).unwrap();
    let online = answer(&mut scene.station.client_command(&["train", "verify", image]), 0);
    let offline = answer(&mut alone(&["train", "verify", "--archive", file.to_str().unwrap()]), 0);
    for field in ["holds", "train_id", "session_id", "stops_signed", "stops", "rules"] {
        assert!(!online[field].is_null(), "{field}");
        assert_eq!(online[field], offline[field], "{field}");
    }
    assert_eq!((&online["image"], &online["holds"]), (&image.into(), &true.into()));
    assert_eq!((&online["session_id"], &online["stops"]), (&scene.train.made["session_id"], &1.into()));
    let rule = |name: &str| online["rules"].as_array().unwrap().iter().find(|rule| rule["rule"] == name).unwrap().clone();
    assert_eq!(rule("creator-signature")["outcome"], "checked");
    assert_eq!(rule("immutable-digest")["outcome"], "not-checkable");
    let saved_file = scene.train.directory().join("saved.tar");
    fs::write(&saved_file, saved(image)).unwrap();
    let piped = alone(&["train", "verify", "--archive", "-", "--output", "json"])
        .stdin(fs::File::open(&saved_file).unwrap())
        .output()
        .unwrap();
    assert_eq!(last_line(&String::from_utf8(piped.stdout).unwrap())["rules"], online["rules"]);

    // Pre-run has the same word for what no stop has signed yet.
    let opened = crate::cli::json(&scene.station, &["train", "pre-run", image]);
    for name in ["chain-signatures", "newest-link", "signatures-apart", "results-signature"] {
        let ours = opened["rules"].as_array().unwrap().iter().find(|rule| rule["rule"] == name).unwrap();
        assert_eq!((&rule(name)["outcome"], &ours["outcome"]), (&"not-checkable".into(), &"not-checkable".into()), "{name}");
    }
}

#[test]
fn a_broken_rule_has_an_exit_code_and_a_row_of_its_own() {
    let scene = Scene::set();
    let tampered = tampered(&scene);
    tampered.put(&scene.engine, &scene.train.repository, "tampered");
    let image = format!("{}:tampered", scene.train.repository);
    let file = scene.train.directory().join("opt.tar");
    fs::write(&file, tampered.only("opt").tar()).unwrap();
    let file = file.to_str().unwrap();
    for (mut command, what) in [
        (scene.station.client_command(&["train", "verify", &image]), "with a service"),
        (alone(&["train", "verify", "--archive", file]), "without one"),
    ] {
        let done = command.output().unwrap();
        assert_eq!(done.status.code(), Some(8), "{what}: {}", said(&done));
        let text = String::from_utf8(done.stdout).unwrap();
        let row = text.lines().find(|line| line.starts_with("builder-signature")).unwrap_or_else(|| panic!("{text}"));
        assert!(row.contains("broken") && row.contains("does not verify"), "{text}");
        assert!(text.contains("NOT valid") && text.contains("RULE") && done.stderr.is_empty(), "{text}");
    }
    assert_eq!(answer(&mut alone(&["train", "verify", "--archive", file]), 8)["holds"], false);
}

#[test]
fn what_cannot_be_verified_at_all_is_an_error_with_its_reason() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bad.tar");
    fs::write(&file, [7; 2048]).unwrap();
    let error = |file: &str, exit: i32| answer(&mut alone(&["train", "verify", "--archive", file]), exit)["error"].clone();
    let malformed = error(file.to_str().unwrap(), 4);
    assert_eq!((&malformed["reason"], &malformed["code"]), (&"ARCHIVE_MALFORMED".into(), &"INVALID_ARGUMENT".into()));
    error("/nonexistent/file.tar", 3);
    for wrong in [&["train", "verify"][..], &["train", "verify", "a:b", "--archive", "-"]] {
        assert_eq!(alone(wrong).output().unwrap().status.code(), Some(2), "{wrong:?}");
    }
    let station = Station::start("a");
    let done = answer(&mut station.client_command(&["train", "check-push", "stationmaster-test/none:latest"]), 3);
    assert_eq!(done["error"]["reason"], "IMAGE_NOT_FOUND");
}

#[test]
fn check_push_reports_in_a_row_and_by_its_exit_code() {
    let scene = Scene::set();
    let image = scene.train.image.as_str();
    let check = || scene.station.client_command(&["train", "check-push", image]);
    let good = answer(&mut check(), 0);
    assert_eq!((&good["ok"], &good["findings"]), (&true.into(), &Value::Array(vec![])));
    let run = scene.pre_run().unwrap();
    let bad = answer(&mut check(), 8);
    assert_eq!((&bad["ok"], &bad["run_id"]), (&false.into(), &run.run_id.as_str().into()));
    let text = String::from_utf8(check().output().unwrap().stdout).unwrap();
    assert!(text.contains("may NOT be pushed") && text.contains(&run.run_id), "{text}");
    // To a station that knows nothing of the run, the layers tell it.
    let other = Station::start("b");
    let done = other.client_command(&["train", "check-push", image]).output().unwrap();
    assert_eq!(done.status.code(), Some(8));
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(text.contains("opt/pht_train/run.sh") && text.contains("it is text"), "{text}");
}
