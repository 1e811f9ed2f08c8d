//! A ledger that this version cannot use keeps the service from starting, and stays as it is.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::Command,
};

use stationmaster::state::LEDGER;

use super::{fails, sql};
use crate::{
    cli::said,
    support::{PROGRAM, Station},
};

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

#[test]
fn a_numeric_station_id_is_refused_before_anything_is_made_and_no_example_uses_one() {
    let room = tempfile::tempdir().unwrap();
    let state = room.path().join("state");
    for id in ["1", "0123", "1_000", " 7"] {
        let mut command = Command::new(PROGRAM);
        let done = command.args(["serve", "--dev", "--station", id, "--state"]).arg(&state).output().unwrap();
        assert_eq!(done.status.code(), Some(2), "{id:?}: {}", said(&done));
        assert!(said(&done).contains("is a number: train_lib converts it"), "{id:?}: {}", said(&done));
        assert!(!state.exists(), "something is made for {id:?}");
    }

    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts = vec![here.join("README.md"), here.join("deploy/stationmaster.toml"), here.join("src/cli.rs")];
    for directory in ["docs", "src/cli"] {
        texts
            .extend(fs::read_dir(here.join(directory)).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()));
    }
    for file in texts {
        let text = fs::read_to_string(&file).unwrap_or_default();
        for after in text.split("--station").skip(1) {
            let word = after.split_whitespace().next().unwrap_or_default();
            let id = word.trim_matches(['"', '`', '\'', '=', ',']);
            assert!(id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()), "{}: --station {id}", file.display());
        }
    }
}

#[test]
fn a_ledger_that_may_not_be_read_is_not_called_absent() {
    assert!(rustix::process::geteuid().is_root(), "the tests run as root");
    let state = tempfile::tempdir().unwrap();
    fs::set_permissions(state.path(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(state.path().join(LEDGER), "closed").unwrap();
    let list = |change: &dyn Fn(&mut Command)| {
        let mut command = Command::new(PROGRAM);
        command.env_clear().args(["run", "list", "--state"]).arg(state.path()).current_dir("/");
        change(&mut command);
        command.output().unwrap()
    };
    let done = list(&|command| {
        command.uid(65534).gid(65534);
    });
    assert_eq!(done.status.code(), Some(7), "{}", said(&done));
    assert!(said(&done).contains("Permission denied") && said(&done).contains("as the service's user"), "{}", said(&done));
    fs::remove_file(state.path().join(LEDGER)).unwrap();
    let done = list(&|_| {});
    assert_eq!(done.status.code(), Some(3), "{}", said(&done));
    assert!(said(&done).contains("there is no ledger"), "{}", said(&done));
}
