//! Whatever a caller sends, what is written of it is short, and can be read at the next start.

use std::fs;

use serde_json::Value;
use stationmaster::audit::RECORD_BYTES;

use super::{evidence::records, tampered::verify};
use crate::support::{PROGRAM, Station, tamper::Scene};

/// The audit's public key, in a file.
pub fn audit_key(station: &Station) -> std::path::PathBuf {
    let file = station.state().join("audit.pem");
    fs::write(&file, station.key("audit").unwrap().public_key_pem).unwrap();
    file
}

#[test]
fn a_train_with_endless_ids_is_refused_in_a_short_record_and_the_station_starts_again() {
    let mut scene = Scene::set();
    let key = audit_key(&scene.station);
    for (field, characters) in [("@id", 1_200_000), ("session_id", 1_200_000), ("session_id", 600), ("proposal_id", 257)] {
        let mut train = scene.rootfs();
        train.edit_config(|config| config[field] = Value::from("ab".repeat(characters / 2) + &"a".repeat(characters % 2)));
        let refusal = scene.refuses(field, &train, "CONFIG_MALFORMED");
        assert!(refusal.message.contains(&format!("{field} is longer than")), "{}", refusal.message);
    }
    scene.station.stop();
    scene.station.start_again();
    scene.still_works();
    let log = scene.station.state().join("audit/service");
    for line in fs::read_to_string(log.join("00000001.jsonl")).unwrap().lines() {
        assert!(line.len() <= RECORD_BYTES, "a record of {} bytes", line.len());
    }
    let (code, report) = verify(&[&log], Some(&key), &[]);
    assert_eq!(code, Some(0), "{report}");
}

#[test]
fn a_station_whose_log_an_older_version_made_unreadable_starts_again() {
    let mut station = Station::start("a");
    let key = audit_key(&station);
    station.stop();
    // As it was written there for a train with an endless session id.
    let file = station.state().join("audit/service/00000001.jsonl");
    let mut text = fs::read_to_string(&file).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let seq = last["seq"].as_u64().unwrap() + 1;
    let prev = const_hex::encode(stationmaster::audit::leaf_hash(text.lines().last().unwrap().as_bytes()));
    let long = format!(
        r#"{{"seq":{seq},"time":"2026-01-01T00:00:00.000000Z","prev":"{prev}","event":"refusal","call":"0196","train":{{"id":"t","session":"{}","stop":0}},"outcome":"RPC_NOT_ALLOWED"}}"#,
        "ab".repeat(1_200_000)
    );
    text += &format!("{long}\n");
    fs::write(&file, &text).unwrap();

    station.start_again();
    assert!(station.log().contains("above the present maximum length"), "{}", station.log());
    let shown = records(&station, &["--event", "refusal"]);
    assert_eq!((shown.len(), shown[0]["about"]["bytes_of_line"].as_u64()), (1, Some(long.len() as u64)));
    let export = station.state().join("export.jsonl");
    let state = station.state().to_str().unwrap().to_owned();
    let exported =
        std::process::Command::new(PROGRAM).args(["audit", "export", "--state", &state, "-o", export.to_str().unwrap()]).status();
    assert!(exported.unwrap().success());
    station.stop();
    for log in [file, export] {
        let (code, report) = verify(&[&log], Some(&key), &[]);
        assert_eq!((code, report["long_lines"].as_u64()), (Some(0), Some(1)), "{report}");
    }
}
