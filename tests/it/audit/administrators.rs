//! The log of the administrators' commands is held by the service's own: who may write the one cannot hide what was commanded.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use super::{
    bounds::audit_key,
    evidence::records,
    tampered::{rechained, verify},
};
use crate::support::{PROGRAM, Station, wait_for};

fn back_up(station: &Station, to: &Path) {
    let state = station.state().to_str().unwrap();
    let command = ["state", "backup", to.to_str().unwrap(), "--state", state];
    let output = Command::new(PROGRAM).args(command).env("SUDO_UID", "4321").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The last that the service's log says of the other.
fn seen(station: &Station) -> Option<Value> {
    records(station, &["--event", "administrators-log"]).pop()
}

#[test]
fn a_rewritten_or_removed_log_of_administrators_is_found_by_the_service_and_by_verify() {
    let mut station = Station::start("a");
    let room = tempfile::tempdir().unwrap();
    let key = audit_key(&station);
    let both = station.state().join("audit");
    let log = both.join("officer/00000001.jsonl");
    assert_eq!(verify(&[&both], Some(&key), &[]).0, Some(0), "before any command");

    back_up(&station, &room.path().join("one"));
    let records_there = || fs::read_to_string(&log).unwrap().lines().count();
    wait_for("the service to see it", || {
        let head = format!("{}:", records_there());
        seen(&station).filter(|seen| seen["about"]["head"].as_str().is_some_and(|text| text.starts_with(&head)))
    });
    let (code, report) = wait_for("its signature", || {
        let found = verify(&[&both], Some(&key), &[]);
        let noted = seen(&station)?["seq"].as_u64()?;
        (found.1["covered"].as_u64()? > noted).then_some(found)
    });
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["administrators"]["seen"], report["administrators"]["checked"], "{report}");

    // Who is behind root is in the record, too.
    let person: Value = serde_json::from_str(fs::read_to_string(&log).unwrap().lines().last().unwrap()).unwrap();
    assert_eq!(person["about"]["sudo_uid"], 4321, "{person}");
    let login = fs::read_to_string("/proc/self/loginuid").ok().and_then(|uid| uid.trim().parse::<u32>().ok());
    let login = login.filter(|uid| *uid != u32::MAX).map_or(Value::Null, Value::from);
    assert_eq!(person["about"]["login_uid"], login, "{person}");

    let good = fs::read_to_string(&log).unwrap();
    let lines: Vec<String> = good.lines().map(str::to_owned).collect();
    let forged = rechained(&lines, |record| {
        if record["event"] == "state-backed-up" {
            record["principal"] = "unix:uid=1".into();
        }
    });
    let alone = station.state().join("audit/service");
    for (what, text) in [("rewritten", Some(forged.join("\n") + "\n")), ("removed", None)] {
        match &text {
            Some(text) => fs::write(&log, text).unwrap(),
            None => fs::remove_dir_all(both.join("officer")).unwrap(),
        }
        let (code, report) = verify(&[&both], Some(&key), &[]);
        assert_eq!(code, Some(8), "{what}: {report}");
        let explicit = both.join("officer");
        if text.is_some() {
            let found = verify(&[&alone], Some(&key), &["--administrators", explicit.to_str().unwrap()]);
            assert_eq!(found.0, Some(8), "{what}: {}", found.1);
        }
        // The service says so in its own log; nothing that is done to the other takes that back.
        wait_for("a record of it", || seen(&station).filter(|seen| seen["outcome"] == "broken"));
    }
    fs::create_dir_all(both.join("officer")).unwrap();
    fs::write(&log, &good).unwrap();
    station.stop();
    let (code, report) = verify(&[&both], Some(&key), &[]);
    assert_eq!(code, Some(8), "{report}");
    assert!(report["flaws"].to_string().contains("was not what the service had seen before"), "{report}");
}

#[test]
fn what_was_done_to_the_log_of_administrators_while_no_service_ran_is_found_at_its_start() {
    let mut station = Station::start("a");
    let room = tempfile::tempdir().unwrap();
    back_up(&station, &room.path().join("one"));
    wait_for("the service to see it", || seen(&station));
    station.stop();
    fs::remove_dir_all(station.state().join("audit/officer")).unwrap();
    station.start_again();
    let found = seen(&station).unwrap();
    assert_eq!(found["outcome"], "broken", "{found}");
    assert!(found["detail"].as_str().unwrap().contains("no longer exists"), "{found}");
    assert!(station.log().contains("rewritten, truncated or removed"), "{}", station.log());
}
