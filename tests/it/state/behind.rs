//! A ledger that is older than the audit beside it keeps the service from starting: it would let a train run twice.

use std::{fs, os::unix::process::ExitStatusExt, path::Path};

use stationmaster::state::LEDGER;
use stationmaster_proto::SignatureScheme;

use super::{fails, json, life::does_not_start, office};
use crate::{
    audit::evidence::records,
    cli::output,
    support::{
        Station,
        tamper::{RESULTS, Scene, refused, run_script},
    },
};

const FILES: [&str; 3] = [LEDGER, "ledger.sqlite-wal", "ledger.sqlite-shm"];

/// Puts the ledger's files of one directory into another, and takes away those that the first does not have.
fn put(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for name in FILES {
        let _ = fs::remove_file(to.join(name));
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

fn size_of_log(station: &Station) -> u64 {
    fs::metadata(station.state().join("audit/service/00000001.jsonl")).unwrap().len()
}

#[test]
fn a_ledger_that_lost_its_newest_part_does_not_let_a_finished_train_run_again_unasked() {
    let mut scene = Scene::set();
    let sealed = scene.engine.find(&scene.train.image).unwrap();
    let room = tempfile::tempdir().unwrap();
    let [old, opened, newest] = ["old", "opened", "newest"].map(|name| room.path().join(name));
    let state = scene.station.state().to_owned();
    scene.station.stop();
    put(&state, &old);
    scene.station.start_again();
    let run = scene.pre_run().unwrap();
    json(&scene.station, &["state", "backup", opened.to_str().unwrap()]);
    run_script(&scene.engine, &scene.train.image, RESULTS);
    scene.station.post_run(&run.run_id).unwrap();
    scene.engine.tag(&sealed, &scene.train.repository, "latest");
    let station = &mut scene.station;
    station.kill();
    put(&state, &newest);
    let recorded = size_of_log(station);

    fs::remove_file(state.join("ledger.sqlite-wal")).unwrap();
    fs::remove_file(state.join("ledger.sqlite-shm")).unwrap();
    let ways = ["the ledger is older than the audit", &run.run_id, "`state restore BACKUP`", "state accept-loss ledger"];
    does_not_start(station, &ways);
    for (ledger, said) in [(&old, "does not have it"), (&opened, "was completed, and in the ledger it is prepared")] {
        put(ledger, &state);
        does_not_start(station, &[said]);
    }
    assert_eq!(size_of_log(station), recorded, "a start that was refused is recorded");

    // What a crash left is whole.
    put(&newest, &state);
    station.start_again();
    refused("what ran before", station.pre_run(&scene.train.image), "TRAIN_REPLAYED");
    station.stop();
    fails(station, &["state", "accept-loss", "ledger", "--reason", "why"], 5, "nothing was changed");

    put(&old, &state);
    json(station, &["state", "accept-loss", "ledger", "--reason", "disk lost"]);
    station.start_again();
    let told = records(station, &["--log", "officer", "--event", "state-loss-accepted"]);
    assert!(told.iter().any(|record| record["about"]["reason"] == "disk lost" && record["outcome"] == "ok"), "{told:?}");
    let run = station.pre_run(&scene.train.image).unwrap();
    station.abort(&run.run_id).unwrap();
    station.kill();

    // Neither the copy that was accepted once, nor a backup's ledger that was not restored, is accepted for ever.
    put(&old, &state);
    does_not_start(station, &["the ledger is older than the audit"]);
    for name in FILES.iter().chain(&["instance", "first-seen.toml"]) {
        let _ = fs::remove_file(state.join(name));
    }
    output(office(station, &["state", "restore", "--open-runs", "forget"]).arg(&opened));
    station.start_again();
}

/// A service dies at a point of a post-run that has its effect, and the next start completes the run. The ledger of before the post-run
/// is then not accepted: it would open the train once more.
#[track_caller]
fn is_missed_after_a_kill_at(point: &str) {
    let mut scene = Scene::with(Station::with("a").env("STATIONMASTER_CRASH_AT", point).start());
    let room = tempfile::tempdir().unwrap();
    let opened = room.path().join("opened");
    let state = scene.station.state().to_owned();
    let run = scene.pre_run().unwrap();
    run_script(&scene.engine, &scene.train.image, RESULTS);
    json(&scene.station, &["state", "backup", opened.to_str().unwrap()]);
    scene.station.post_run(&run.run_id).expect_err("an answer of a service that is killed");
    let station = &mut scene.station;
    assert_eq!(station.wait().signal(), Some(9), "{point}");

    station.set_env("STATIONMASTER_CRASH_AT", None);
    station.start_again();
    let completed = |station: &Station| {
        let steps = records(station, &["--run", &run.run_id, "--event", "step"]);
        steps.into_iter().filter(|step| step["rpc"] == "PostRun" && step["outcome"] == "ok").collect::<Vec<_>>()
    };
    let told = completed(station);
    assert!(matches!(&told[..], [one] if one["about"]["recovered"] == true), "{point}: {told:?}");
    assert!(told[0]["train"]["session"].is_string() && told[0]["images"]["out"].is_string(), "{told:?}");
    station.stop();
    station.start_again();
    assert_eq!(completed(station).len(), 1, "{point}: a completion is recorded at every start");
    station.stop();

    put(&opened, &state);
    does_not_start(station, &["was completed, and in the ledger it is prepared", "state accept-loss ledger"]);
}

#[test]
fn an_older_ledger_is_missed_although_the_run_was_completed_by_the_start_after_a_kill() {
    for point in ["post-run/tagged", "post-run/completed"] {
        is_missed_after_a_kill_at(point);
    }
}

#[test]
fn a_ledger_that_lacks_no_run_goes_on_although_it_knows_less_of_the_log() {
    let mut station = Station::start("a");
    let room = tempfile::tempdir().unwrap();
    let state = station.state().to_owned();
    station.stop();
    put(&state, room.path());
    station.start_again();
    for _ in 0..20 {
        station.sign("a-general", SignatureScheme::RsaPssSha256, &[1; 32]).unwrap();
    }
    station.stop();
    // As after a loss of power: the place in the log is synced with the next change of a run only.
    put(room.path(), &state);
    station.start_again();
    let started = records(&station, &["--event", "service-started"]).pop().unwrap();
    assert!(started["about"]["unremembered_before"].as_u64().unwrap() > 40, "{started}");
}

#[test]
fn another_log_in_place_of_the_services_is_not_continued_unasked() {
    let (mut station, mut other) = (Station::start("a"), Station::start("b"));
    station.stop();
    other.stop();
    let log = station.state().join("audit/service");
    fs::rename(&log, station.state().join("moved")).unwrap();
    fs::rename(other.state().join("audit/service"), &log).unwrap();
    does_not_start(&mut station, &["part audit does not belong to the other parts", "state accept-loss audit"]);
    json(&station, &["state", "accept-loss", "audit", "--reason", "disk lost"]);
    station.start_again();
    let started = records(&station, &["--event", "service-started"]).pop().unwrap();
    assert!(started["about"]["log_before"].is_string(), "{started}");
}
