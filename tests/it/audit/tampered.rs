//! `audit verify` finds what was done to a log.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::Value;
use stationmaster_proto::SignatureScheme;

use crate::support::{PROGRAM, Station, set};

/// A station that has signed, ended, and left its log in short segments.
struct Left {
    station: Station,
    key: PathBuf,
}

impl Left {
    fn new() -> Self {
        let mut station = Station::with("a").start_configured(|config| set(config, "audit", "checkpoint_records", 10));
        let pem = station.key("audit").unwrap().public_key_pem;
        for round in 0..3 {
            for digest in 0..8 {
                station.sign("a-general", SignatureScheme::RsaPssSha256, &[digest; 32]).unwrap();
            }
            station.stop();
            if round < 2 {
                station.start_again();
            }
        }
        let key = station.state().join("audit.pem");
        fs::write(&key, pem).unwrap();
        Self { station, key }
    }

    fn log(&self) -> PathBuf {
        self.station.state().join("audit/service/00000001.jsonl")
    }

    fn lines(&self) -> Vec<String> {
        fs::read_to_string(self.log()).unwrap().lines().map(str::to_owned).collect()
    }
}

/// `audit verify` of files, with the key.
pub fn verify(files: &[&Path], key: Option<&Path>, more: &[&str]) -> (Option<i32>, Value) {
    let mut command = std::process::Command::new(PROGRAM);
    command.args(["--output", "json", "audit", "verify"]).args(files);
    if let Some(key) = key {
        command.arg("--key").arg(key);
    }
    let Output { status, stdout, stderr } = command.args(more).output().unwrap();
    let line = String::from_utf8(stdout).unwrap();
    let value =
        serde_json::from_str(line.lines().last().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&stderr)))).unwrap();
    (status.code(), value)
}

#[test]
fn every_change_of_a_log_is_found() {
    let left = Left::new();
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("00000001.jsonl");
    let (good, report) = verify(&[&left.log()], Some(&left.key), &[]);
    assert_eq!(good, Some(0), "{report}");
    // At each end, and whenever ten records more were seen.
    assert!(report["checkpoints"].as_u64().unwrap() >= 3, "{report}");
    let head = report["head"].as_str().unwrap().to_owned();
    let lines = left.lines();

    let put = |lines: &[String]| fs::write(&copy, lines.join("\n") + "\n").unwrap();
    let found = |what: &str, more: &[&str]| {
        let (code, report) = verify(&[&copy], Some(&left.key), more);
        assert_eq!(code, Some(8), "{what} was not found: {report}");
        println!("{what}: {}", report["flaws"][0]["what"]);
    };

    // A byte of each record, in turn, in its content and in its numbers: none can be changed.
    for at in 0..lines.len() {
        let mut changed = lines.clone();
        changed[at] = changed[at].replacen("\"event\":\"", "\"event\":\"x", 1);
        assert_ne!(changed[at], lines[at]);
        put(&changed);
        let more: &[&str] = if at + 1 == lines.len() { &["--expect-head", &head] } else { &[] };
        found(&format!("a byte of record {at}"), more);
    }
    let mut removed = lines.clone();
    removed.remove(20);
    put(&removed);
    found("a removed record", &[]);
    let mut swapped = lines.clone();
    swapped.swap(20, 21);
    put(&swapped);
    found("a swapped pair", &[]);
    let mut added = lines.clone();
    added.insert(20, lines[20].clone());
    put(&added);
    found("a record twice", &[]);

    put(&lines[..lines.len() - 5]);
    let (unremembered, _) = verify(&[&copy], Some(&left.key), &[]);
    assert_eq!(unremembered, Some(0), "a shorter log is an earlier state of itself: only who remembers its head can tell");
    found("a cut tail", &["--expect-head", &head]);
    put(&lines);
    assert_eq!(verify(&[&copy], Some(&left.key), &["--expect-head", &head]).0, Some(0));
}

#[test]
fn a_chain_that_was_forged_throughout_has_no_checkpoint_that_holds() {
    let left = Left::new();
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("00000001.jsonl");
    let forged = rechained(&left.lines(), |record| {
        if record["event"] == "key-use" && record["rpc"] == "Sign" {
            record["digest"] = "00".repeat(32).into();
        }
    });
    fs::write(&copy, forged.join("\n") + "\n").unwrap();
    let (without, report) = verify(&[&copy], None, &[]);
    assert_eq!(without, Some(0), "the chain alone is consistent: the forger saw to that");
    assert_eq!(report["signatures_checked"], false, "which is said");
    let (code, report) = verify(&[&copy], Some(&left.key), &[]);
    assert_eq!(code, Some(8), "{report}");
    assert!(report["flaws"][0]["what"].as_str().unwrap().contains("signed over other records"), "{report}");

    // A use that was announced no more.
    let unannounced = rechained(&left.lines(), |record| {
        if record["event"] == "key-use" && record["rpc"] == "Sign" {
            record["event"] = "step".into();
        }
    });
    fs::write(&copy, unannounced.join("\n") + "\n").unwrap();
    let (code, report) = verify(&[&copy], None, &[]);
    let what = report["flaws"].to_string();
    assert_eq!(code, Some(8));
    assert!(what.contains("without having been announced") && what.contains("more often than was announced"), "{what}");

    // A checkpoint made with another key, and one of another place.
    let other = Left::new();
    let foreign: Vec<_> = other.lines().iter().filter(|line| line.contains("\"event\":\"checkpoint\"")).cloned().collect();
    let note = serde_json::from_str::<Value>(&foreign[0]).unwrap()["about"]["note"].clone();
    let swapped = rechained(&left.lines(), |record| {
        if record["event"] == "checkpoint" {
            record["about"]["note"] = note.clone();
        }
    });
    fs::write(&copy, swapped.join("\n") + "\n").unwrap();
    assert_eq!(verify(&[&copy], Some(&left.key), &[]).0, Some(8));
    let (code, report) = verify(&[&left.log()], Some(&other.key), &[]);
    assert_eq!(code, Some(8), "another key is taken: {report}");
}

/// Changes records and chains them anew, as an attacker with write access to the file can.
pub fn rechained(lines: &[String], change: impl Fn(&mut Value)) -> Vec<String> {
    let mut prev: Option<String> = None;
    let rechain = |line: &String| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        change(&mut record);
        if let Some(prev) = &prev {
            record["prev"] = prev.as_str().into();
        }
        let line = record.to_string();
        prev = Some(const_hex::encode(openssl::sha::sha256(&[&[0], line.as_bytes()].concat())));
        line
    };
    lines.iter().map(rechain).collect()
}

#[test]
fn an_older_log_put_back_is_not_continued_unseen() {
    let mut left = Left::new();
    let lines = left.lines();
    let (_, report) = verify(&[&left.log()], Some(&left.key), &[]);
    let head = report["head"].as_str().unwrap().to_owned();
    fs::write(left.log(), lines[..lines.len() - 8].join("\n") + "\n").unwrap();
    left.station.spawn();
    let ended = left.station.wait();
    assert!(!ended.success(), "it went on from an older log");
    assert!(left.station.log().contains("fewer records"), "{}", left.station.log());
    let (code, _) = verify(&[&left.log()], Some(&left.key), &["--expect-head", &head]);
    assert_eq!(code, Some(8));
}
