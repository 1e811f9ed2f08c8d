//! A ledger that this version cannot use keeps the service from starting, and stays as it is.

use std::fs;

use stationmaster::state::LEDGER;

use super::{fails, sql};
use crate::support::Station;

/// The service does not start: it says this, and the ledger is what it was.
#[track_caller]
fn does_not_start(station: &mut Station, exit: i32, said: &[&str]) {
    let file = station.state().join(LEDGER);
    let before = fs::read(&file).unwrap();
    station.spawn();
    assert_eq!(station.wait().code(), Some(exit), "{}", station.log());
    let log = station.log();
    for said in said {
        assert!(log.contains(said), "{said:?} is not said: {log}");
    }
    assert_eq!(fs::read(&file).unwrap(), before, "the ledger was changed");
}

#[test]
fn a_ledger_of_a_newer_version_is_refused_and_used_again_by_that_version() {
    let mut station = Station::start("a");
    station.stop();
    sql(
        &station,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (99, 'later', TRUE, x'00', 0)",
    );
    does_not_start(&mut station, 5, &["written by a newer version", "hint: run the newer version"]);
    fails(&station, &["run", "list"], 5, "hint: run the newer version");
    sql(&station, "DELETE FROM _sqlx_migrations WHERE version = 99");
    station.start_again();
}

#[test]
fn a_damaged_ledger_is_refused() {
    let mut station = Station::start("a");
    station.stop();
    let file = station.state().join(LEDGER);
    assert!(!station.state().join("ledger.sqlite-wal").exists(), "something is not in the one file");
    let whole = fs::read(&file).unwrap();
    for (at, what) in [(0, "its beginning"), (4096, "a page")] {
        let mut damaged = whole.clone();
        damaged[at..at + 4096].fill(0xff);
        fs::write(&file, damaged).unwrap();
        does_not_start(&mut station, 1, &["file is damaged", "hint: keep the file"]);
        println!("{what} is overwritten: refused");
    }
    fs::write(&file, whole).unwrap();
    station.start_again();
}
