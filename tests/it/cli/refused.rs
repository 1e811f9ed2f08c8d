//! What a person is told when it does not work: one error, its reason, a hint, an exit code.

use std::process::Command;

use super::{last_line, said};
use crate::support::{Station, tamper::Scene};

/// The command fails with this exit code and reason, says so to people with a hint, and to programs as one object.
#[track_caller]
fn fails(mut command: impl FnMut() -> Command, exit: i32, reason: &str, hint: &str) {
    let done = command().output().expect("the program");
    assert_eq!(done.status.code(), Some(exit), "{}", said(&done));
    let text = String::from_utf8(done.stderr).unwrap();
    assert!(done.stdout.is_empty(), "a failure on standard output");
    let (error, told) = text.trim_end().split_once("\nhint: ").unwrap_or_else(|| panic!("no hint: {text}"));
    assert!(error.starts_with("error: ") && !error.contains('\n'), "{text}");
    assert!(told.contains(hint), "{text}");
    if !reason.is_empty() {
        assert!(error.ends_with(&format!("({reason})")), "{text}");
    }

    let done = command().args(["--output", "json"]).output().expect("the program");
    assert_eq!(done.status.code(), Some(exit), "{}", said(&done));
    let object = last_line(&String::from_utf8(done.stdout).unwrap());
    let mut fields: Vec<_> = object["error"].as_object().expect("an error object").keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["code", "hint", "message", "metadata", "reason"]);
    assert_eq!(object["error"]["reason"].as_str().unwrap_or_default(), reason);
    assert!(object["error"]["hint"].as_str().unwrap().contains(hint));
}

#[test]
fn refusals_have_their_exit_code_and_a_hint() {
    let scene = Scene::set();
    let (station, train) = (&scene.station, &scene.train);
    let absent = format!("{}:absent", train.repository);
    let digest = format!("{}@sha256:{}", train.repository, "0".repeat(64));
    let zeros = "00".repeat(32);
    let unknown = uuid::Uuid::now_v7().to_string();
    let command = |arguments: &[&str]| {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        move || station.client_command(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    fails(command(&["train", "pre-run", &absent]), 3, "IMAGE_NOT_FOUND", "docker images");
    fails(command(&["train", "pre-run", &digest]), 2, "IMAGE_REF_INVALID", "repository:tag");
    fails(command(&["train", "post-run", &unknown]), 3, "RUN_NOT_FOUND", "run_id");
    fails(command(&["train", "abort", &unknown]), 3, "RUN_NOT_FOUND", "`run list` at the station shows all");
    fails(command(&["key", "show", "absent"]), 3, "KEY_NOT_FOUND", "key list");
    let raw = ["sign", "--key", "a", "--scheme", "rsa-pss-sha256", "--digest", &zeros];
    fails(command(&raw), 7, "KEY_NOT_ALLOWED", "general key");

    let mut tampered = scene.rootfs();
    tampered.content("opt/pht_train/data.bin")[20] ^= 1;
    tampered.put(&scene.engine, &train.repository, "tampered");
    let image = format!("{}:tampered", train.repository);
    fails(command(&["train", "pre-run", &image]), 4, "TRAIN_AUTHENTICATION_FAILED", "audit show --refusal");
    tampered.remove("opt");
    tampered.put(&scene.engine, &train.repository, "none");
    let image = format!("{}:none", train.repository);
    fails(command(&["train", "pre-run", &image]), 4, "CONFIG_MALFORMED", "train inspect");

    let run = scene.pre_run().unwrap();
    fails(command(&["train", "pre-run", &train.image, "--idempotency-key", "another"]), 5, "RUN_STATE", "train abort");
    scene.station.abort(&run.run_id).unwrap();
    let base = scene.engine.find(&train.base).unwrap();
    scene.engine.untag(&train.base);
    fails(command(&["train", "pre-run", &train.image]), 3, "BASE_MISSING", "pull");
    scene.engine.tag(&base, &train.repository, "base");
    scene.still_works();
}

#[test]
fn a_train_that_was_finished_here_is_refused_with_the_administrators_remedy() {
    let scene = Scene::set();
    let run = scene.pre_run().unwrap();
    scene.station.post_run_without_results(&run.run_id).unwrap();
    let image = scene.train.image.clone();
    let hint = format!("run allow-again {}", run.run_id);
    fails(|| scene.station.client_command(&["train", "pre-run", &image]), 4, "TRAIN_REPLAYED", &hint);
}

#[test]
fn a_route_without_this_station_is_reported() {
    let (scene, other) = (Scene::set(), Station::start("b"));
    let image = scene.train.image.clone();
    fails(|| other.client_command(&["train", "pre-run", &image]), 4, "ROUTE_REJECTED", "train inspect");
}

#[test]
fn a_service_that_cannot_be_reached_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let command = |address: String| {
        move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_stationmaster"));
            command.env("STATIONMASTER_ADDRESS", &address).args(["train", "pre-run", "some/train:latest"]);
            command
        }
    };
    fails(command(format!("unix://{}", directory.path().join("no.sock").display())), 6, "", "check that the service is running");
    fails(command("http://127.0.0.1:1".into()), 2, "", "check that the service is running");
}

#[test]
fn a_passed_deadline_is_reported() {
    let scene = Scene::set();
    let image = scene.train.image.clone();
    fails(|| scene.station.client_command(&["hash", &image, "--timeout", "0.01"]), 6, "DEADLINE_EXCEEDED", "");
}

#[test]
fn wrong_arguments_are_an_exit_code_of_their_own() {
    for arguments in [&["train", "pre-run"][..], &["nonsense"], &["serve"], &["serve", "--dev"], &["train", "post-run"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stationmaster"));
        let done = command.args(arguments).output().unwrap();
        assert_eq!(done.status.code(), Some(2), "{arguments:?}: {}", said(&done));
        let done = command.args(["--output", "json"]).output().unwrap();
        assert_eq!(done.status.code(), Some(2), "{arguments:?}");
        assert!(last_line(&String::from_utf8(done.stdout).unwrap())["error"]["message"].is_string(), "{arguments:?}");
    }
}
