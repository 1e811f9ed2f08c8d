//! Mistakes with key states, and attempts to bring a retired key back.

use std::{fs, process::Command};

use stationmaster::key_states::KEY_STATES;
use stationmaster_proto::SignatureScheme;

use super::{done, fails, state_of, station_and, station_with_two_keys, train_for};
use crate::support::{PROGRAM, set, tamper::refused, wait_for};

#[test]
fn a_command_that_contradicts_the_states_is_refused_with_the_remedy_and_changes_nothing() {
    let station = station_with_two_keys();
    let file = station.state().join(KEY_STATES);
    let before = fs::read(&file).unwrap();
    for (arguments, exit, remedy) in [
        (&["key", "activate", "a-new"][..], 5, "key rotate OLD --to NEW"),
        (&["key", "activate", "nobody"], 3, "key list"),
        (&["key", "activate", "a-general"], 2, "[keys]"),
        (&["key", "rotate", "a", "--to", "a", "--reason", "r"], 2, "--to names the new key"),
        (&["key", "rotate", "a-new", "--to", "a", "--reason", "r"], 5, "key activate"),
        (&["key", "rotate", "a", "--to", "a-new", "--until", "2020-01-01", "--reason", "r"], 2, "key retire"),
        (&["key", "rotate", "a", "--to", "a-new", "--until", "tomorrow", "--reason", "r"], 2, "2027-01-31"),
        (&["key", "rotate", "a", "--to", "a-new"], 2, "--reason"),
        (&["key", "retire", "a", "--date", "2020-01-01", "--reason", "r"], 2, "leave out --date"),
        (&["key", "retire", "a-new", "--date", "2199-01-01", "--reason", "r"], 5, "leave out --date"),
        (&["key", "retire", "a"], 2, "--reason"),
    ] {
        let said = fails(&station, arguments, exit);
        assert!(said.contains(remedy), "{arguments:?}: {said}");
        assert_eq!(fs::read(&file).unwrap(), before, "{arguments:?}");
    }
    // A retired key is never used again, nor is its label.
    done(&station, &["key", "retire", "a-new", "--reason", "never needed"]);
    for arguments in [
        &["key", "activate", "a-new"][..],
        &["key", "rotate", "a", "--to", "a-new", "--reason", "r"],
        &["key", "retire", "a-new", "--reason", "r"],
        &["key", "generate", "a-new", "--purpose", "train"],
    ] {
        assert!(fails(&station, arguments, 5).contains("retired"), "{arguments:?}");
    }
}

#[test]
fn only_an_active_train_key_is_used_raw() {
    let station = station_and(|config| set(config, "keys", "raw_use", vec![toml::Value::from("a"), toml::Value::from("a-new")]));
    let sign = |label: &str| station.sign(label, SignatureScheme::RsaPssSha512MaxSalt, &[0; 64]);
    sign("a").unwrap();
    refused("a pre-active key", sign("a-new"), "KEY_NOT_ALLOWED");
    done(&station, &["key", "rotate", "a", "--to", "a-new", "--reason", "yearly"]);
    sign("a-new").unwrap();
    refused("a superseded key", sign("a"), "KEY_NOT_ALLOWED");
    done(&station, &["key", "retire", "a", "--reason", "replaced"]);
    refused("a retired key", sign("a"), "KEY_NOT_ALLOWED");
}

#[test]
fn a_removed_or_broken_file_of_states_brings_no_retired_key_back() {
    let mut station = station_with_two_keys();
    let train = train_for(&station, "a");
    done(&station, &["key", "rotate", "a", "--to", "a-new", "--reason", "yearly"]);
    done(&station, &["key", "retire", "a", "--reason", "replaced"]);
    let file = station.state().join(KEY_STATES);
    let states = fs::read(&file).unwrap();
    refused("a retired key", station.pre_run(&train.image), "ROUTE_REJECTED");
    fs::write(&file, "version = 1\n[[key]]\n").unwrap();
    refused("a broken file", station.pre_run(&train.image), "ROUTE_REJECTED");
    wait_for("health", || (station.health().unwrap() == "NOT_SERVING").then_some(()));
    fs::remove_file(&file).unwrap();
    let refusal = refused("a removed file", station.pre_run(&train.image), "NOT_READY");
    assert_eq!(refusal.metadata.get("component").map(String::as_str), Some("keys"), "{refusal:?}");
    station.stop();
    station.spawn();
    assert_eq!(station.wait().code(), Some(5), "it starts without the states");
    assert!(station.log().contains("state accept-loss key-states"), "the remedy");
    fs::write(&file, states).unwrap();
    station.start_again();
    refused("a retired key", station.pre_run(&train.image), "ROUTE_REJECTED");
}

#[test]
fn a_service_does_not_start_with_retired_keys_only_and_says_how_to_make_another() {
    let mut station = station_with_two_keys();
    done(&station, &["key", "retire", "a-new", "--reason", "never needed"]);
    done(&station, &["key", "retire", "a", "--reason", "compromised"]);
    assert_eq!(state_of(&station, "a"), "retired");
    wait_for("health", || (station.health().unwrap() == "NOT_SERVING").then_some(()));
    station.stop();
    let mut serve = Command::new(PROGRAM);
    serve.env("SOFTHSM2_CONF", station.softhsm_conf()).args(["serve", "--config"]).arg(station.state().join("test.toml"));
    let ended = serve.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(2), "{said}");
    assert!(said.contains("every train key is retired") && said.contains("key generate LABEL --purpose train"), "{said}");
}
