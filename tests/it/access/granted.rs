//! What a grant covers and what it does not: keys, trains, rates; and what a refusal tells.

use stationmaster_proto::{SignatureScheme, WrappingScheme};

use super::principals::{grant, me};
use crate::{
    audit::evidence::records,
    support::{
        PROGRAM, Station, set,
        tamper::{RESULTS, Scene, refused, run_script},
    },
};

const SCHEME: SignatureScheme = SignatureScheme::RsaPssSha256;

#[test]
fn a_key_that_is_not_granted_is_refused_as_one_that_is_not_there() {
    let station = Station::start("a");
    grant(&station, &[(&me(), &["Sign", "UnwrapKey", "GetKey", "ListKeys"], Some(&["a-general"]))]);
    let there = refused("a key that is there", station.sign("audit", SCHEME, &[1; 32]), "KEY_NOT_ALLOWED");
    let not = refused("a key that is not", station.sign("nobody", SCHEME, &[1; 32]), "KEY_NOT_ALLOWED");
    assert_eq!((there.code, &there.message, &there.metadata), (not.code, &not.message, &not.metadata));
    refused("shown", station.key("a"), "KEY_NOT_ALLOWED");
    refused("unwrap", station.unwrap_key("a", WrappingScheme::RsaOaepSha512, &[1; 256]), "KEY_NOT_ALLOWED");
    let listed: Vec<_> = station.keys().unwrap().into_iter().map(|key| key.label).collect();
    assert_eq!(listed, ["a-general"]);
    station.sign("a-general", SCHEME, &[1; 32]).unwrap();
}

#[test]
fn an_administrators_commands_grant_explain_and_revoke_and_are_recorded() {
    let mut station = Station::start("a");
    station.stop();
    station.configure(|_| {});
    std::fs::remove_file(station.state().join("access.toml")).unwrap();
    let config = station.state().join("test.toml").to_str().unwrap().to_owned();
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(PROGRAM);
        let output = command.args(["--output", "json"]).args(arguments).args(["--config", &config]).output().unwrap();
        let line = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), serde_json::from_str::<serde_json::Value>(line.lines().last().unwrap()).unwrap())
    };
    let ci = "dns:ci.hospital.example";
    assert_eq!(run(&["access", "list"]).0, Some(3), "there is no file yet");
    assert_eq!(run(&["access", "allow", ci, "--role", "signer", "--key", "a-general", "--comment", "nightly"]).0, Some(0));
    let (_, listed) = run(&["access", "list"]);
    assert_eq!((&listed["grants"][0]["principal"], &listed["grants"][0]["comment"]), (&ci.into(), &"nightly".into()));
    for (arguments, code) in [
        (&["Sign", "a-general"][..], 0),
        (&["Sign", "other"], 7),
        (&["Sign", "a-general", "--purpose", "train"], 7),
        (&["PreRun"], 7),
        (&["NoSuchRpc"], 2),
    ] {
        let (found, answer) = run(&[&["access", "check", ci], arguments].concat());
        assert_eq!(found, Some(code), "{arguments:?}: {answer}");
    }
    assert_eq!(run(&["access", "check", "somebody", "Sign"]).0, Some(2), "a name that is no principal");
    assert_eq!(run(&["access", "revoke", ci, "--rpc", "Sign"]).0, Some(0));
    assert_eq!(run(&["access", "check", ci, "Sign", "a-general"]).0, Some(7));
    assert_eq!(run(&["access", "check", ci, "UnwrapKey", "a-general"]).0, Some(0));
    assert_eq!(run(&["access", "revoke", ci]).0, Some(0));
    assert_eq!(run(&["access", "revoke", ci]).0, Some(3), "nothing is left to revoke");
    let (_, shown) = run(&["audit", "show", "--log", "officer", "--event", "access-changed"]);
    let commands: Vec<_> = shown["records"].as_array().unwrap().iter().map(|record| record["rpc"].as_str().unwrap()).collect();
    assert_eq!(commands, ["access allow", "access revoke", "access revoke"]);
}

#[test]
fn a_caller_with_a_grant_for_certain_trains_learns_nothing_of_others() {
    let scene = Scene::set();
    let id = scene.station.inspect(&scene.train.image).unwrap().train_id;
    let rpcs = &["PreRun", "PostRun", "AbortRun", "InspectTrain", "HashImage", "VerifyTrain", "CheckPush", "OpenResults"];
    let only = |train: &str| {
        let text = format!("version = 1\n[[grant]]\nprincipal = {:?}\nrpcs = {rpcs:?}\ntrains = [{train:?}]\n", me());
        std::fs::write(scene.station.state().join("access.toml"), text).unwrap();
    };
    only("another-train");
    refused("pre-run", scene.pre_run(), "RPC_NOT_ALLOWED");
    refused("inspect", scene.station.inspect(&scene.train.image), "RPC_NOT_ALLOWED");
    refused("results", scene.station.open_results(&scene.train.image, &[]), "RPC_NOT_ALLOWED");
    refused("a run that is not there", scene.station.post_run("none"), "RPC_NOT_ALLOWED");
    only(&id);
    let run = scene.pre_run().unwrap();
    only("another-train");
    refused("a run that is there", scene.station.post_run(&run.run_id), "RPC_NOT_ALLOWED");
    refused("abort", scene.station.abort(&run.run_id), "RPC_NOT_ALLOWED");
    only(&id);
    run_script(&scene.engine, &scene.train.image, RESULTS);
    scene.station.post_run(&run.run_id).unwrap();
}

#[test]
fn a_train_key_that_is_not_granted_opens_no_train() {
    let scene = Scene::set();
    grant(&scene.station, &[(&me(), &["PreRun", "AbortRun"], Some(&["another-key"]))]);
    refused("pre-run", scene.pre_run(), "KEY_NOT_ALLOWED");
    grant(&scene.station, &[(&me(), &["PreRun", "AbortRun"], None)]);
    let run = scene.pre_run().unwrap();
    scene.station.abort(&run.run_id).unwrap();
}

#[test]
fn a_run_is_touched_only_with_a_grant_for_its_key() {
    let scene = Scene::set();
    let rpcs = &["PreRun", "PostRun", "AbortRun"];
    let granted = |keys| grant(&scene.station, &[(&me(), rpcs, keys)]);
    let other = Some(&["another-key"][..]);
    granted(None);
    let run = scene.pre_run().unwrap();
    granted(other);
    refused("abort", scene.station.abort(&run.run_id), "KEY_NOT_ALLOWED");
    refused("post-run", scene.station.post_run(&run.run_id), "KEY_NOT_ALLOWED");
    refused("the same call again", scene.pre_run(), "KEY_NOT_ALLOWED");
    granted(Some(&["a"]));
    scene.station.abort(&run.run_id).unwrap();
    let run = scene.pre_run().unwrap();
    run_script(&scene.engine, &scene.train.image, RESULTS);
    scene.station.post_run(&run.run_id).unwrap();
    granted(other);
    let refusal = refused("a train that was finished here", scene.pre_run(), "KEY_NOT_ALLOWED");
    assert!(!refusal.metadata.contains_key("run_id"), "{refusal:?}");
    refused("abort of a finished run", scene.station.abort(&run.run_id), "KEY_NOT_ALLOWED");
}

#[test]
fn calls_that_come_too_fast_are_refused_with_a_time_to_wait_and_counted() {
    let station = Station::with("a").start_configured(|config| set(config, "limits", "principal_calls_per_s", 5));
    let outcomes: Vec<_> = (0..40).map(|_| station.keys()).collect();
    let refused: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    assert!(refused.len() > 20, "{} of 40 were refused", refused.len());
    assert!(refused.iter().all(|refusal| refusal.reason == "OVERLOADED" && refusal.has_retry_info), "{refused:?}");
    let mut station = station;
    station.stop();
    let counted: u64 =
        records(&station, &["--event", "refusals"]).iter().filter_map(|record| record["about"]["count"].as_u64()).sum();
    assert_eq!(counted, refused.len() as u64);
}
