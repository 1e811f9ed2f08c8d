//! What `audit verify` says, and of what it does not.

use std::{fs, process::Command};

use stationmaster::audit::{Audit, Entry, Event, Settings};

use super::bounds::audit_key;
use crate::support::{PROGRAM, Station};

fn verify(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(PROGRAM).args(["audit", "verify"]).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn a_verdict_states_what_was_checked_and_a_log_without_a_signature_gets_none() {
    let mut station = Station::start("a");
    let key = audit_key(&station);
    let key = key.to_str().unwrap();
    station.stop();
    let audit = station.state().join("audit");
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();

    let (code, said) = verify(&[&text(&audit), "--key", key]);
    assert!(code == Some(0) && said.contains("no flaw was found"), "{said}");
    let (code, said) = verify(&[&text(&audit)]);
    assert!(code == Some(0) && said.contains("the chain is valid; signatures were not verified"), "{said}");
    assert!(!said.contains("no flaw was found"), "{said}");

    // A log made up from nothing is a chain like another.
    let settings = Settings {
        directory: station.state().join("made-up"),
        log: "service",
        segment_bytes: 1 << 20,
        reserve_bytes: 0,
        archive: None,
        second: None,
        remembered: None,
        remember: None,
    };
    let (made_up, _) = Audit::open(settings).unwrap();
    made_up.record(Entry::of(Event::ServiceStopped)).unwrap();
    made_up.close();
    let made_up = text(&station.state().join("made-up/service"));
    let (code, said) = verify(&[&made_up, "--key", key]);
    assert!(code == Some(8) && said.contains("no checkpoint is signed"), "{code:?} {said}");
    let (code, said) = verify(&[&made_up, "--key", key, "--allow-unsigned"]);
    assert_eq!(code, Some(0), "{said}");

    // The wrong directory, the wrong path.
    let empty = station.state().join("empty");
    fs::create_dir(&empty).unwrap();
    let (code, said) = verify(&[&text(&empty), "--key", key]);
    assert!(code == Some(3) && said.contains("contains no audit log") && said.contains("STATE/audit"), "{code:?} {said}");
    let (code, said) = verify(&[&text(&station.state().join("nothing")), "--key", key]);
    assert!(code == Some(3) && said.contains("nothing: ") && !said.contains("check the disk"), "{code:?} {said}");
}
