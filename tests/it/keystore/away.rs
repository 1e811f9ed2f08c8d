//! A token that goes away: the service tells, finds it again, accounts for what that took, and ends when it is told to.

use std::fs;

use rustix::process::Signal;
use stationmaster_proto::{SignatureScheme, WrappingScheme};

use super::pkcs11_tool;
use crate::{
    audit::evidence::records,
    support::{PROGRAM, Station, tamper::refused, wait_for},
};

const SCHEME: SignatureScheme = SignatureScheme::RsaPssSha256;

/// Has every object of the token but itself put aside, as when its store is not mounted. Answers what brings them back.
pub fn hide_keys(station: &Station) -> impl FnOnce() {
    let (tokens, away) = (station.state().join("softhsm/tokens"), station.state().join("away"));
    fs::create_dir_all(&away).unwrap();
    let token = fs::read_dir(tokens).unwrap().next().unwrap().unwrap().path();
    let moved: Vec<_> = fs::read_dir(token)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|file| file.extension().is_some_and(|kind| kind == "object") && file.file_stem().unwrap() != "token")
        .map(|file| (away.join(file.file_name().unwrap()), file))
        .collect();
    moved.iter().for_each(|(aside, file)| fs::rename(file, aside).unwrap());
    move || moved.iter().for_each(|(aside, file)| fs::rename(aside, file).unwrap())
}

fn is_serving(station: &Station) -> bool {
    station.health().is_ok_and(|status| status == "SERVING")
}

/// The token's own count in a record.
fn counted(record: &serde_json::Value) -> (u64, u64) {
    let token = &record["about"]["token"];
    (token["signatures"].as_u64().unwrap(), token["decryptions"].as_u64().unwrap())
}

#[test]
fn uses_of_keys_are_accounted_for_when_keys_vanish_and_come_back_or_are_replaced() {
    let mut station = Station::start("a");
    // The first checkpoint is signed by then, so that none is due while keys are away.
    wait_for("the first checkpoint", || records(&station, &["--event", "checkpoint"]).pop());
    let at_start = counted(&records(&station, &["--event", "keys-found"])[0]);
    let bring_back = hide_keys(&station);
    wait_for("the loss to be noticed", || (!is_serving(&station)).then_some(()));
    bring_back();
    wait_for("the keys to be found again", || is_serving(&station).then_some(()));
    assert_eq!(records(&station, &["--event", "keys-tried"]), Vec::<serde_json::Value>::new(), "keys that are known were tried");
    let found = records(&station, &["--event", "keys-found"]);
    let signed = records(&station, &["--event", "key-use"]).len() as u64;
    assert_eq!((found.len(), counted(&found[1])), (2, (at_start.0 + signed, at_start.1)), "that took no use of a key");

    // Another key under the label of one that was there.
    let before = station.key("a-general").unwrap().fingerprint;
    for kind in ["privkey", "pubkey"] {
        assert!(pkcs11_tool(&station, &["--delete-object", "--type", kind, "--label", "a-general"]).status.success());
    }
    let gone = wait_for("the loss to be noticed", || station.key("a-general").err());
    assert_eq!(gone.reason, "KEY_NOT_FOUND");
    refused("a key that is gone", station.sign("a-general", SCHEME, &[1; 32]), "KEY_NOT_FOUND");
    let generate = ["key", "generate", "a-general", "--purpose", "general", "--bits", "2048", "--state"];
    let made = std::process::Command::new(PROGRAM).args(generate).arg(station.state()).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    // Found by the call that needs it, without a restart.
    station.sign("a-general", SCHEME, &[1; 32]).expect("the key is there again");
    assert_ne!(station.key("a-general").unwrap().fingerprint, before);
    let key = station.state().join("audit.pem");
    fs::write(&key, station.key("audit").unwrap().public_key_pem).unwrap();
    station.stop();

    let tried = records(&station, &["--event", "keys-tried"]);
    assert_eq!(tried.len(), 1, "{tried:?}");
    let of_trial = (tried[0]["about"]["signatures"].as_u64().unwrap(), tried[0]["about"]["decryptions"].as_u64().unwrap());
    let all = records(&station, &[]);
    let place = |event: &str| all.iter().rposition(|record| record["event"] == event).unwrap();
    assert!(place("keys-tried") < place("keys-found"), "announced before it is done");
    // Everything that the token was asked for since the start was announced, and nothing else.
    let uses = records(&station, &["--event", "key-use"]);
    let announced = |unwrap: bool| uses.iter().filter(|record| (record["operation"] == "unwrap") == unwrap).count() as u64;
    let last = counted(records(&station, &["--event", "checkpoint"]).last().unwrap());
    // The last checkpoint's own signature comes after its count.
    let expected = (at_start.0 + of_trial.0 + announced(false) - 1, at_start.1 + of_trial.1 + announced(true));
    assert_eq!(last, expected);
    let log = station.state().join("audit/service");
    let verified =
        std::process::Command::new(PROGRAM).args(["audit", "verify"]).arg(log).arg("--key").arg(&key).output().unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[test]
fn a_key_that_was_away_for_a_moment_is_found_without_a_restart() {
    let station = Station::start("a");
    let bring_back = hide_keys(&station);
    wait_for("the loss to be noticed", || station.sign("a-general", SCHEME, &[1; 32]).err());
    bring_back();
    wait_for("the key", || station.sign("a-general", SCHEME, &[1; 32]).ok());
    let wrapped =
        refused("what does not open", station.unwrap_key("a-general", WrappingScheme::RsaOaepSha512, &[1; 256]), "UNWRAP_FAILED");
    assert!(!wrapped.message.contains("train") && wrapped.metadata.contains_key("refusal_id"), "{wrapped:?}");
}

#[test]
fn sigterm_ends_the_service_while_its_token_is_away() {
    for way in ["emptied", "initialised anew", "hidden"] {
        let mut station = Station::start("a");
        let tokens = station.state().join("softhsm/tokens");
        if way == "hidden" {
            let _ = hide_keys(&station);
        } else {
            for token in fs::read_dir(&tokens).unwrap() {
                fs::remove_dir_all(token.unwrap().path()).unwrap();
            }
        }
        if way == "initialised anew" {
            let made = std::process::Command::new("softhsm2-util")
                .env("SOFTHSM2_CONF", station.softhsm_conf())
                .args(["--init-token", "--free", "--label", "stationmaster-dev", "--pin", "1234", "--so-pin", "567890"])
                .output()
                .unwrap();
            assert!(made.status.success(), "{made:?}");
        }
        wait_for("the loss to be noticed", || (!is_serving(&station)).then_some(()));
        wait_for("an attempt to get it back", || station.log().contains("the token is still away").then_some(()));
        station.signal(Signal::TERM);
        if way == "emptied" {
            station.signal(Signal::TERM);
        }
        let ended = station.wait();
        assert!(ended.success(), "{way}: {ended}\n{}", station.log());
    }
}
