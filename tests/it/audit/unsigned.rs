//! What was not signed yet when the service died.

use std::fs;

use rustix::process::Signal;
use stationmaster_proto::SignatureScheme;

use super::{
    bounds::audit_key,
    evidence::records,
    tampered::{rechained, verify},
};
use crate::support::Station;

#[test]
fn what_was_answered_before_a_crash_cannot_be_rewritten_and_is_signed_at_the_next_start() {
    let mut station = Station::start("a");
    let key = audit_key(&station);
    for digest in 0..5 {
        station.sign("a-general", SignatureScheme::RsaPssSha256, &[digest; 32]).unwrap();
    }
    station.signal(Signal::KILL);
    station.wait();
    let file = station.state().join("audit/service/00000001.jsonl");
    let good = fs::read_to_string(&file).unwrap();
    let lines: Vec<String> = good.lines().map(str::to_owned).collect();

    // Three uses are dropped, and two laid on another: in the file alone, and no key is needed.
    let innocent = rechained(&lines, |record| {
        if record["rpc"] == "Sign" {
            record["principal"] = "dns:innocent.example".into();
        }
    });
    for forged in [innocent, rechained(&lines[..lines.len() - 6], |_| ())] {
        fs::write(&file, forged.join("\n") + "\n").unwrap();
        station.spawn();
        assert!(!station.wait().success(), "it goes on from what was rewritten");
    }
    fs::write(&file, &good).unwrap();

    station.start_again();
    let started = records(&station, &["--event", "service-started"]).pop().unwrap();
    let unsigned = started["about"]["unsigned_before"].as_u64().unwrap();
    assert!(unsigned >= 10, "{started}");
    // Before anything is asked of it, what was unsigned is signed.
    let (code, report) = verify(&[&file], Some(&key), &[]);
    assert_eq!(code, Some(0), "{report}");
    assert!(report["covered"].as_u64().unwrap() > lines.len() as u64, "{report}");
    let span = &report["unsigned"][0];
    assert_eq!(span["last"], started["seq"].as_u64().unwrap() - 1, "{report}");
    assert_eq!(span["last"].as_u64().unwrap() + 1 - span["first"].as_u64().unwrap(), unsigned, "{report}");

    // An end as it should be leaves nothing of that kind.
    station.stop();
    station.start_again();
    let started = records(&station, &["--event", "service-started"]).pop().unwrap();
    assert!(started["about"]["unsigned_before"].is_null() && started["about"]["unremembered_before"].is_null(), "{started}");
}
