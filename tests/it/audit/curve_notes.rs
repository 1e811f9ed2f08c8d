//! Checkpoints by keys on elliptic curves are signed notes, which other software verifies without knowing this service.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use openssl::{
    ec::{EcGroup, EcKey},
    nid::Nid,
    pkey::PKey,
};
use serde_json::Value;
use stationmaster_proto::SignatureScheme;

use super::{
    bounds::audit_key,
    tampered::{rechained, verify},
};
use crate::support::{Peer, Station, set};

/// A station whose audit key was changed to one of another type, and which has ended.
struct Left {
    station: Station,
    /// The RSA key that signed before.
    before: PathBuf,
    key: PathBuf,
    lines: Vec<String>,
    _layouts: tempfile::TempDir,
}

impl Left {
    fn new(key_type: &str) -> Self {
        let layouts = tempfile::tempdir().unwrap();
        let mut station = Station::with("a").layouts(layouts.path()).start();
        let before = audit_key(&station);
        let made = station.generate_key("notes", "audit", key_type);
        station.stop();
        station.configure(|config| {
            set(config, "audit", "key", "notes");
            set(config, "audit", "checkpoint_records", 10);
        });
        station.start_again();
        for digest in 0..8 {
            station.sign("a-general", SignatureScheme::RsaPssSha256, &[digest; 32]).unwrap();
        }
        station.stop();
        let key = station.state().join("notes.pem");
        fs::write(&key, made["public_key_pem"].as_str().unwrap()).unwrap();
        let log = fs::read_to_string(station.state().join("audit/service/00000001.jsonl")).unwrap();
        Self { station, before, key, lines: log.lines().map(str::to_owned).collect(), _layouts: layouts }
    }

    /// The notes by the new key.
    fn notes(&self) -> Vec<String> {
        let records = self.lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let notes = records.filter_map(|record| Some(record["about"]["note"].as_str()?.to_owned()));
        notes.filter(|note| !is_rsa(note)).collect()
    }

    /// The verdict of `audit verify`, given a key and the one before.
    fn verdict(&self, key: &Path) -> (Option<i32>, Value) {
        let log = self.station.state().join("audit/service/00000001.jsonl");
        verify(&[&log], Some(key), &["--key", self.before.to_str().unwrap()])
    }

    /// The verdict about the log as `change` leaves its new notes, in a chain without a gap.
    fn verdict_of(&self, key: &Path, change: impl Fn(&str) -> String) -> (Option<i32>, Value) {
        let lines = rechained(&self.lines, |record| {
            if let Some(note) = record["about"]["note"].as_str().filter(|note| !is_rsa(note)) {
                record["about"]["note"] = change(note).into();
            }
        });
        let file = self.station.state().join("changed.jsonl");
        fs::write(&file, lines.join("\n") + "\n").unwrap();
        verify(&[&file], Some(key), &["--key", self.before.to_str().unwrap()])
    }

    /// What Python's `cryptography` says of a note.
    fn by_python(&self, note: &str) -> Option<Value> {
        let file = self.station.state().join("note");
        fs::write(&file, note).unwrap();
        let name = note.lines().next().unwrap();
        let arguments = ["--note", file.to_str().unwrap(), "--key", self.key.to_str().unwrap(), "--name", name];
        Peer::newest().script("note.py", arguments).ok()
    }
}

/// Whether a note is by the key that signed before: its signature has 256 bytes, and the key's id four.
fn is_rsa(note: &str) -> bool {
    STANDARD.decode(note.trim_end().rsplit_once(' ').unwrap().1).unwrap().len() == 260
}

/// A note with a byte of its decoded signature line changed, counted from the beginning: the key's id has the first four.
fn flipped(note: &str, at: usize) -> String {
    let (before, encoded) = note.trim_end().rsplit_once(' ').unwrap();
    let mut signature = STANDARD.decode(encoded).unwrap();
    signature[at] ^= 1;
    format!("{before} {}\n", STANDARD.encode(signature))
}

fn larger(note: &str) -> String {
    let mut lines: Vec<String> = note.split('\n').map(str::to_owned).collect();
    lines[1] = (lines[1].parse::<u64>().unwrap() + 1).to_string();
    lines.join("\n")
}

fn notes_are_verified_by_others_and_changed_ones_refused(key_type: &str, scheme: &str, other: &PKey<openssl::pkey::Private>) {
    let left = Left::new(key_type);
    let notes = left.notes();
    assert!(notes.len() >= 2, "{notes:?}");
    for note in &notes {
        let read = left.by_python(note).unwrap_or_else(|| panic!("Python refuses {note}"));
        let size: u64 = note.lines().nth(1).unwrap().parse().unwrap();
        assert_eq!((&read["verified"], &read["size"]), (&1.into(), &size.into()));
        for changed in [flipped(note, 0), flipped(note, 40), larger(note)] {
            assert!(left.by_python(&changed).is_none(), "Python takes {changed}");
        }
    }
    let announced = left.lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert_eq!(announced.filter(|record| record["scheme"] == scheme).count(), notes.len());

    let (code, report) = left.verdict(&left.key);
    assert_eq!(code, Some(0), "{report}");
    let all = left.lines.iter().filter(|line| line.contains("\"event\":\"checkpoint\"")).count() as u64;
    assert!(report["checkpoints"].as_u64() == Some(all) && all > notes.len() as u64, "{report}");
    let flaws = |(code, report): (Option<i32>, Value), what: &str| {
        assert_eq!(code, Some(8), "{report}");
        let flaws = report["flaws"].as_array().unwrap();
        assert!(flaws.iter().any(|flaw| flaw["what"].as_str().unwrap().contains(what)), "{what}: {report}");
    };
    flaws(left.verdict_of(&left.key, |note| flipped(note, 40)), "its signature is invalid");
    flaws(left.verdict_of(&left.key, larger), "its signature is invalid");
    flaws(left.verdict_of(&left.key, |note| flipped(note, 0)), "it names another key");
    // Another key of the type, and the key before alone.
    let pem = left.station.state().join("other.pem");
    fs::write(&pem, other.public_key_to_pem().unwrap()).unwrap();
    flaws(left.verdict(&pem), "it names another key");
    flaws(left.verdict(&left.before), "it names another key");
    // The key is read in the forms in which it is exported.
    let key = PKey::public_key_from_pem(&fs::read(&left.key).unwrap()).unwrap();
    let der = key.public_key_to_der().unwrap();
    for form in [der.clone(), const_hex::encode(&der).into_bytes(), const_hex::encode(fs::read(&left.key).unwrap()).into_bytes()]
    {
        fs::write(&pem, form).unwrap();
        assert_eq!(left.verdict(&pem).0, Some(0));
    }
}

#[test]
fn checkpoints_by_an_ed25519_key_are_signed_notes_of_type_1() {
    let other = PKey::generate_ed25519().unwrap();
    notes_are_verified_by_others_and_changed_ones_refused("ed25519", "ED25519", &other);
}

#[test]
fn checkpoints_by_a_p_256_key_are_signed_notes_of_type_2() {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let other = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    notes_are_verified_by_others_and_changed_ones_refused("ec-p256", "ECDSA_P256_SHA256", &other);
}

#[test]
fn a_p_384_key_is_refused_for_checkpoints_with_the_remedy() {
    let layouts = tempfile::tempdir().unwrap();
    let mut station = Station::with("a").layouts(layouts.path()).start();
    station.generate_key("notes", "general", "ec-p384");
    station.stop();
    station.configure(|config| set(config, "audit", "key", "notes"));
    station.spawn();
    assert_eq!(station.wait().code(), Some(2), "{}", station.log());
    let log = station.log();
    let said = log.lines().find(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("{log}"));
    assert!(said.contains("\"notes\" is EC P-384") && said.contains("key generate"), "{said}");
}
