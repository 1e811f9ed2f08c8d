//! State that is missing while its neighbours show that it was there keeps the service from starting: it is never begun anew unasked.

use std::fs;

use stationmaster::state::{INSTANCE, LEDGER};

use super::{fails, json};
use crate::{
    audit::evidence::records,
    support::{
        Station,
        tamper::{RESULTS, Scene, refused, run_script},
    },
};

/// The service does not start, and says this.
#[track_caller]
pub fn does_not_start(station: &mut Station, said: &[&str]) {
    station.spawn();
    assert_eq!(station.wait().code(), Some(5), "{}", station.log());
    let log = station.log();
    for said in said {
        assert!(log.contains(said), "{said:?} is not said: {log}");
    }
}

#[test]
fn a_station_whose_ledger_is_gone_does_not_begin_a_new_one_unasked() {
    let mut scene = Scene::set();
    let sealed = scene.engine.find(&scene.train.image).unwrap();
    let run = scene.pre_run().unwrap();
    run_script(&scene.engine, &scene.train.image, RESULTS);
    scene.station.post_run(&run.run_id).unwrap();
    scene.engine.tag(&sealed, &scene.train.repository, "latest");
    let station = &mut scene.station;
    station.stop();
    let (ledger, aside) = (station.state().join(LEDGER), station.state().join("aside"));
    fs::rename(&ledger, &aside).unwrap();
    does_not_start(station, &["part ledger is missing or empty", "`state restore BACKUP`", "state accept-loss ledger"]);
    assert!(!ledger.exists(), "a ledger was made");
    fs::write(&ledger, "").unwrap();
    does_not_start(station, &["part ledger is missing or empty"]);
    assert_eq!(fs::metadata(&ledger).unwrap().len(), 0, "a ledger was made");

    // Put back, all is as it was.
    fs::rename(&aside, &ledger).unwrap();
    station.start_again();
    refused("what ran before", station.pre_run(&scene.train.image), "TRAIN_REPLAYED");
    fails(station, &["state", "accept-loss", "ledger", "--reason", "why"], 5, &station.pid().to_string());
    station.stop();
    fails(station, &["state", "accept-loss", "ledger", "--reason", "why"], 5, "nothing was changed");
    fails(station, &["state", "accept-loss", "ledger"], 2, "--reason");

    // Given up with a reason, the station goes on, and the reason is in the audit.
    fs::remove_file(&ledger).unwrap();
    let given_up = json(station, &["state", "accept-loss", "ledger", "--reason", "disk lost"]);
    assert!(given_up["loss"].as_str().unwrap().contains("opened again"), "{given_up}");
    station.start_again();
    let told = records(station, &["--log", "officer", "--event", "state-loss-accepted"]);
    assert!(told.iter().any(|record| record["about"]["reason"] == "disk lost" && record["outcome"] == "ok"), "{told:?}");
    station.pre_run(&scene.train.image).unwrap();
}

#[test]
fn a_station_does_not_begin_anew_without_its_audit_or_its_id_nor_as_another_station() {
    let mut station = Station::start("a");
    station.stop();
    let at = |name: &str| station.state().join(name);
    let (audit, moved, instance) = (at("audit"), at("moved"), at(INSTANCE));
    let id = fs::read_to_string(&instance).unwrap();
    fs::rename(&audit, &moved).unwrap();
    does_not_start(&mut station, &["part audit is missing or empty", "state accept-loss audit"]);
    assert!(!audit.join("service/00000001.jsonl").exists(), "a log was begun");
    let _ = fs::remove_dir_all(&audit);
    fs::rename(&moved, &audit).unwrap();
    fs::remove_file(&instance).unwrap();
    does_not_start(&mut station, &["part instance is missing or empty"]);
    json(&station, &["state", "accept-loss", "instance", "--reason", "removed by hand"]);
    assert_eq!(fs::read_to_string(&instance).unwrap(), id, "the ledger knew it");
    station.start_again();
    station.stop();
    let other = std::process::Command::new(crate::support::PROGRAM)
        .args(["serve", "--dev", "--station", "other", "--bits", "2048", "--state"])
        .arg(station.state())
        .output()
        .unwrap();
    assert_eq!(other.status.code(), Some(5), "{}", crate::cli::said(&other));
    assert!(crate::cli::said(&other).contains("belongs to the station \"a\""), "{}", crate::cli::said(&other));
}
