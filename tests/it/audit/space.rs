//! The audit's disk: its reserve, and segments that go elsewhere.

use std::{fs, path::Path, process::Command};

use serde_json::Value;
use stationmaster::audit::{Audit, Entry, Event, Settings};
use stationmaster_proto::SignatureScheme;

use super::{bounds::audit_key, tampered::verify};
use crate::support::{
    Disk, PROGRAM, Station,
    disk::{empty, fill},
    set, wait_for,
};

#[test]
fn a_disk_is_reported_before_it_is_full_and_the_audit_continues_within_its_reserve() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::mount(directory.path(), 8 << 10);
    let mut station = Station::with("a").start_configured(|config| {
        set(config, "audit", "directory", directory.path().to_str().unwrap());
        set(config, "audit", "reserve_mib", 1);
    });
    let key = audit_key(&station);
    let sign = || station.sign("a-general", SignatureScheme::RsaPssSha256, &[7; 32]);
    sign().unwrap();
    assert!(!station.log().contains("nearly full"));
    fill(directory.path(), 1500);
    wait_for("a warning", || {
        sign().unwrap();
        station.log().contains("nearly full").then_some(())
    });
    assert_eq!(station.health().unwrap(), "SERVING");

    // Nothing is left for anything else; the audit has what it needs for long.
    fill(directory.path(), 0);
    let mut calls = 0;
    let refusal = loop {
        match sign() {
            Ok(_) => calls += 1,
            Err(refusal) => break refusal,
        }
        assert!(calls < 10_000, "the reserve has no end");
    };
    assert!(calls > 500, "{calls} calls, and nothing more could be recorded");
    assert_eq!(refusal.reason, "AUDIT_UNAVAILABLE");
    assert!(station.log().contains("the reserved space is used"), "{}", station.log());

    empty(directory.path());
    wait_for("an answer", || sign().ok());
    station.stop();
    let (code, report) = verify(&[&directory.path().join("service")], Some(&key), &[]);
    assert_eq!(code, Some(0), "{report}");
    drop(station);
    drop(disk);
}

#[test]
fn old_segments_go_to_an_archive_and_both_are_one_log() {
    let state = tempfile::tempdir().unwrap();
    let settings = Settings {
        directory: state.path().join("audit"),
        log: "service",
        segment_bytes: 1024,
        reserve_bytes: 0,
        archive: None,
        second: None,
        remembered: None,
        remember: None,
    };
    let (audit, _) = Audit::open(settings).unwrap();
    for number in 0..40 {
        audit.record(Entry::of(Event::Refusal).with("number", number)).unwrap();
    }
    audit.close();
    let archive = state.path().join("archive");
    let run = |arguments: &[&str]| {
        let output = Command::new(PROGRAM).args(["--output", "json", "audit"]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_str::<Value>(String::from_utf8(output.stdout).unwrap().lines().last().unwrap()).unwrap()
    };
    let (to, from) = (archive.to_str().unwrap(), state.path().to_str().unwrap());
    let count = |directory: &Path| fs::read_dir(directory.join("service")).unwrap().filter(is_segment).count();
    let before = count(&state.path().join("audit"));
    let moved = run(&["archive", "--to", to, "--keep", "2", "--state", from]);
    assert_eq!(moved["segments"].as_array().unwrap().len(), before - 2);
    assert_eq!((count(&state.path().join("audit")), count(&archive)), (2, before - 2));

    let (code, report) = verify(&[&archive, &state.path().join("audit")], None, &[]);
    assert_eq!((code, report["first"].as_u64()), (Some(0), Some(0)), "{report}");
    let (code, report) = verify(&[&state.path().join("audit")], None, &[]);
    assert!(code == Some(0) && report["first"].as_u64() > Some(0), "{report}");
    // The move is evidence, too.
    let shown = run(&["show", "--state", from, "--log", "officer", "--event", "segments-archived"]);
    let records = shown["records"].as_array().unwrap();
    assert_eq!((records.len(), records[1]["outcome"].as_str()), (2, Some("ok")), "{shown}");
}

#[test]
fn a_running_service_moves_old_segments_to_its_archive_and_both_are_one_log_that_goes_on() {
    let archive = tempfile::tempdir().unwrap();
    let mut station = Station::with("a").start_configured(|config| {
        set(config, "audit", "segment_mib", 1);
        set(config, "audit", "keep_segments", 2);
        set(config, "audit", "archive", archive.path().to_str().unwrap());
    });
    let key = audit_key(&station);
    let live = station.state().join("audit");
    let count = |directory: &Path| fs::read_dir(directory.join("service")).map_or(0, |files| files.filter(is_segment).count());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while count(&live) + count(archive.path()) < 4 {
                    station.sign("a-general", SignatureScheme::RsaPssSha256, &[7; 32]).unwrap();
                }
            });
        }
    });
    wait_for("the archive", || (count(&live) == 2 && count(archive.path()) >= 2).then_some(()));
    station.sign("a-general", SignatureScheme::RsaPssSha256, &[7; 32]).unwrap();
    let (code, report) = verify(&[archive.path(), &live], None, &[]);
    assert_eq!((code, report["first"].as_u64()), (Some(0), Some(0)), "while it runs: {report}");

    station.stop();
    station.start_again();
    station.stop();
    let (code, report) = verify(&[archive.path(), &live], Some(&key), &[]);
    assert_eq!((code, report["first"].as_u64()), (Some(0), Some(0)), "{report}");
    let config = station.state().join("test.toml");
    let mut show = Command::new(PROGRAM);
    show.args(["--output", "json", "audit", "show", "--event", "segments-archived", "--config"]).arg(config);
    let shown = String::from_utf8(show.output().unwrap().stdout).unwrap();
    let shown: Value = serde_json::from_str(shown.lines().last().unwrap()).unwrap();
    assert_eq!(shown["records"][0]["about"]["first"], 1, "{shown}");
}

fn is_segment(entry: &std::io::Result<fs::DirEntry>) -> bool {
    entry.as_ref().is_ok_and(|entry| entry.path().extension().is_some_and(|extension| extension == "jsonl"))
}
