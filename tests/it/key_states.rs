//! States of train keys: a key is used exactly as far as its state allows, from the moment of the administrator's command, in a service
//! that keeps running.

mod document;
mod refused;
mod rotation;

use std::process::{Command, Output, Stdio};

use crate::support::{PROGRAM, Seat, Station, Train, set};

/// A station with the train keys "a" and "a-new", of which the second is not yet in use.
pub fn station_with_two_keys() -> Station {
    station_and(|_| {})
}

/// The same, with a change of its configuration.
pub fn station_and(change: impl FnOnce(&mut toml::Table)) -> Station {
    let mut station = Station::with("a").start();
    station.stop();
    let state = station.state().to_str().unwrap().to_owned();
    let new = ["key", "generate", "a-new", "--purpose", "train", "--bits", "2048", "--pre-active", "--state", &state];
    assert!(Command::new(PROGRAM).args(new).output().unwrap().status.success());
    station.configure(|config| {
        set(config, "keys", "train", vec![toml::Value::from("a"), toml::Value::from("a-new")]);
        change(config);
    });
    station.start_again();
    station
}

/// What an administrator's command with the station's configuration does.
pub fn administer(station: &Station, arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.env("SOFTHSM2_CONF", station.softhsm_conf()).args(["--output", "json"]).args(arguments);
    command.arg("--config").arg(station.state().join("test.toml")).stdin(Stdio::null()).output().unwrap()
}

/// The JSON of a command that succeeds.
#[track_caller]
pub fn done(station: &Station, arguments: &[&str]) -> serde_json::Value {
    let done = administer(station, arguments);
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{arguments:?}: {said} {}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_str(said.lines().last().expect("a line")).expect("JSON")
}

/// The error of a command that fails with this exit code.
#[track_caller]
pub fn fails(station: &Station, arguments: &[&str], exit: i32) -> String {
    let failed = administer(station, arguments);
    let said = format!("{}{}", String::from_utf8_lossy(&failed.stdout), String::from_utf8_lossy(&failed.stderr));
    assert_eq!(failed.status.code(), Some(exit), "{arguments:?}: {said}");
    said
}

/// A train of which the station's route entry names this key.
pub fn train_for(station: &Station, label: &str) -> Train {
    let hex_pem = station.key(label).unwrap().public_key_hex_pem;
    Train::of(&[Seat { id: station.id().to_owned(), hex_pem }]).make()
}

/// The state of a key, as `key list` shows it.
#[track_caller]
pub fn state_of(station: &Station, label: &str) -> String {
    let listed = done(station, &["key", "list"]);
    let key = listed["keys"].as_array().unwrap().iter().find(|key| key["label"] == label).expect("the key");
    key["state"]["state"].as_str().expect("a state").to_owned()
}
