//! A rotation with overlap, with trains that train_lib makes and opens.

use std::time::Duration;

use super::{administer, done, fails, state_of, station_with_two_keys, train_for};
use crate::support::{
    Engine, Station, Train,
    tamper::{RESULTS, refused, run_script},
    wait_for,
};

/// Runs a train; its creator verifies with train_lib and the key that the route names.
#[track_caller]
fn runs(station: &Station, train: &Train, when: &str) {
    let run = station.pre_run(&train.image).unwrap_or_else(|refusal| panic!("{when}: {refusal:?}"));
    finish(station, train, &run.run_id, when);
}

#[track_caller]
fn finish(station: &Station, train: &Train, run_id: &str, when: &str) {
    run_script(&Engine::connect(), &train.image, RESULTS);
    station.post_run(run_id).unwrap_or_else(|refusal| panic!("{when}: {refusal:?}"));
    assert_eq!(train.open(&[]).stops_signed, 1, "{when}");
}

#[test]
fn a_train_runs_on_each_key_before_during_and_after_a_rotation_without_a_restart() {
    let station = station_with_two_keys();
    let trains = |label: &str| train_for(&station, label);
    // Before: the new key is in the token and in the configuration, and opens nothing.
    runs(&station, &trains("a"), "the old key, before");
    let refusal = refused("a key that is not yet in use", station.pre_run(&trains("a-new").image), "ROUTE_REJECTED");
    assert!(refusal.message.contains("pre-active"), "{refusal:?}");
    assert_eq!((state_of(&station, "a").as_str(), state_of(&station, "a-new").as_str()), ("active", "pre-active"));
    let published = |station: &Station| done(station, &["key", "export"])["label"].clone();
    assert_eq!(published(&station), "a");

    // During: each train with the key that its own route entry names.
    let out = trains("a");
    let run = station.pre_run(&out.image).unwrap();
    let rotated = done(&station, &["key", "rotate", "a", "--to", "a-new", "--reason", "yearly"]);
    assert_eq!(rotated["keys"][0]["open_runs"][0], run.run_id.as_str(), "{rotated}");
    assert_eq!((state_of(&station, "a").as_str(), state_of(&station, "a-new").as_str()), ("superseded", "active"));
    assert_eq!(published(&station), "a-new");
    runs(&station, &trains("a-new"), "the new key, during");
    runs(&station, &trains("a"), "the old key, during");

    // What is still out keeps the old key in use.
    let refusal = fails(&station, &["key", "retire", "a", "--reason", "replaced"], 5);
    assert!(refusal.contains(&run.run_id), "{refusal}");
    assert_eq!(state_of(&station, "a"), "superseded");
    finish(&station, &out, &run.run_id, "what was out during the rotation");

    // After.
    let last = trains("a");
    done(&station, &["key", "retire", "a", "--reason", "replaced"]);
    let refusal = refused("a retired key", station.pre_run(&last.image), "ROUTE_REJECTED");
    assert!(refusal.message.contains("retired"), "{refusal:?}");
    runs(&station, &trains("a-new"), "the new key, after");
    let shown = done(&station, &["key", "show", "a"]);
    assert_eq!((&shown["state"]["state"], &shown["state"]["runs"]), (&"retired".into(), &3.into()), "{shown}");
    assert_eq!((&shown["state"]["reason"], &shown["state"]["successor"]), (&"replaced".into(), &"a-new".into()), "{shown}");

    // Who did it and why is in the administrators' log.
    let shown = done(&station, &["audit", "show", "--log", "officer", "--event", "key-state-changed"]);
    let outcomes: Vec<_> = shown["records"].as_array().unwrap().iter().filter_map(|record| record["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["ok", "ok", "failed", "ok"], "generated, rotated, refused, retired: {shown}");
}

#[test]
fn a_key_is_retired_by_the_clock_of_a_running_service_also_for_a_run_that_is_open() {
    let station = station_with_two_keys();
    let (before, after) = (train_for(&station, "a"), train_for(&station, "a"));
    let run = station.pre_run(&before.image).unwrap();
    run_script(&Engine::connect(), &before.image, RESULTS);
    let soon = (jiff::Timestamp::now() + Duration::from_secs(6)).to_string();
    let rotated = done(&station, &["key", "rotate", "a", "--to", "a-new", "--until", &soon, "--reason", "yearly"]);
    assert_eq!(rotated["keys"][0]["state"], "superseded", "{rotated}");
    wait_for("the date", || (state_of(&station, "a") == "retired").then_some(()));
    refused("a key whose date has come", station.pre_run(&after.image), "ROUTE_REJECTED");
    refused("an open run", station.post_run(&run.run_id), "ROUTE_REJECTED");
    // No other key seals it: it ends without results.
    station.abort(&run.run_id).unwrap();
    assert_eq!(administer(&station, &["key", "activate", "a"]).status.code(), Some(5), "a retired key came back");
}
