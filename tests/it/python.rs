//! The Python client: its own tests at a real station, with the gRPC of the Airflow that stations run and a current one, its types, what
//! is generated, and its wheel.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{Peer, Station, Train};

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/python");

/// Number of trains that the client's tests use.
const TRAINS: usize = 9;

fn client(path: &str) -> PathBuf {
    Path::new(CLIENT).join(path)
}

fn python(version: &str) -> Command {
    let mut command = Command::new(Peer::new(version).python());
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONPATH", client("src")).current_dir(client("tests"));
    command
}

#[track_caller]
fn succeeds(command: &mut Command) -> String {
    let done = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{said}");
    said
}

/// Runs all tests of the client.
fn at_a_station(version: &str) {
    let station = Station::start("a");
    let trains: Vec<Train> = (0..TRAINS).map(|_| Train::of(&[station.seat()]).make()).collect();
    let images: Vec<&str> = trains.iter().map(|train| train.image.as_str()).collect();
    let env = station.env();
    let mut command = python(version);
    command
        .env("STATIONMASTER_ADDRESS", &env["STATIONMASTER_ADDRESS"])
        .env("TEST_TCP", &env["STATIONMASTER_TCP"])
        .env("TEST_PKI", station.state().join("pki"))
        .env("TEST_STATION", station.id())
        .env("TEST_TRAINS", images.join(" "));
    let said = succeeds(command.args(["-W", "error::ResourceWarning", "-m", "unittest", "-v"]));
    assert!(said.contains("Ran 19 tests"), "{said}");
}

#[test]
fn the_clients_tests_pass_with_the_grpc_of_the_airflow_that_stations_run() {
    at_a_station("2.0.6a0");
}

#[test]
fn the_clients_tests_pass_with_a_current_grpc() {
    at_a_station("2.0.5");
}

#[test]
fn the_page_on_switching_names_imports_that_exist() {
    let page = fs::read_to_string(client("../../docs/switching-from-train_lib.md")).unwrap();
    let (old, new): (Vec<_>, Vec<_>) = page
        .lines()
        .filter(|line| line.starts_with(['+', '-']) && line.contains(" import "))
        .partition(|line| line.starts_with('-'));
    assert_eq!((old.len(), new.len()), (3, 1));
    for line in old.iter().chain(&new) {
        succeeds(python("2.0.6a0").args(["-c", &line[1..]]));
    }
}

#[test]
fn what_is_generated_is_up_to_date() {
    let directory = tempfile::tempdir().unwrap();
    succeeds(python("2.0.5").arg(client("generate.py")).arg(directory.path()));
    for name in ["_generated.py", "descriptors.bin"] {
        let made = fs::read(directory.path().join(name)).unwrap();
        let committed = fs::read(client("src/stationmaster").join(name)).unwrap();
        assert!(made == committed, "{name} is out of date: `make proto`");
    }
}

#[test]
fn the_package_is_typed() {
    let cache = tempfile::tempdir().unwrap();
    succeeds(python("2.0.5").current_dir(client("")).args(["-m", "mypy", "--cache-dir"]).arg(cache.path()));
}

#[test]
fn the_wheel_contains_the_package_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("python");
    succeeds(Command::new("cp").arg("-r").arg(CLIENT).arg(&copy));
    let build = "import hatchling.build, sys; print(hatchling.build.build_wheel(sys.argv[1]))";
    let said = succeeds(python("2.0.5").current_dir(&copy).args(["-c", build]).arg(directory.path()));
    let wheel = said.lines().last().unwrap();
    assert_eq!(wheel, "stationmaster-0.1.0-py3-none-any.whl");
    let names = succeeds(python("2.0.5").args(["-m", "zipfile", "-l"]).arg(directory.path().join(wheel)));
    for name in ["stationmaster/descriptors.bin", "stationmaster/py.typed", "stationmaster/compat/__init__.py"] {
        assert!(names.contains(name), "{names}");
    }
    assert!(names.lines().skip(1).all(|line| line.starts_with("stationmaster")), "{names}");
}
