//! `stationmaster state`: a backup of a service that runs, put back into a state directory that lost everything.

use std::fs;

use stationmaster::state::{FIRST_SEEN, INSTANCE, LEDGER};

use super::{fails, json, office};
use crate::{
    cli::output,
    support::{
        Engine, Station, Train,
        tamper::{Before, RESULTS, instance, refused, run_script},
    },
};

fn loses_its_state(station: &Station) {
    for name in [LEDGER, "ledger.sqlite-wal", "ledger.sqlite-shm", INSTANCE, FIRST_SEEN] {
        let _ = fs::remove_file(station.state().join(name));
    }
}

#[test]
fn a_restored_station_still_refuses_what_it_had_finished() {
    let (engine, mut station) = (Engine::connect(), Station::start("a"));
    let room = tempfile::tempdir().unwrap();
    let backup = room.path().join("backup").to_str().unwrap().to_owned();
    let [before, after] = [(); 2].map(|()| Train::of(&[station.seat()]).make());
    let sealed = [&before, &after].map(|train| engine.find(&train.image).unwrap());
    let passes = |station: &Station, train: &Train| {
        let run = station.pre_run(&train.image).unwrap();
        run_script(&engine, &train.image, RESULTS);
        station.post_run(&run.run_id).unwrap();
    };
    passes(&station, &before);
    let made = json(&station, &["state", "backup", &backup]);
    assert_eq!((&made["runs"], &made["files"]), (&1.into(), &serde_json::json!([LEDGER, INSTANCE])));
    fails(&station, &["state", "backup", &backup], 5, "does not exist yet");
    passes(&station, &after);
    let id = instance(&station);

    fails(&station, &["state", "restore", &backup], 5, &station.pid().to_string());
    station.stop();
    fails(&station, &["state", "restore", &backup], 5, "to another directory");
    loses_its_state(&station);
    let said = output(&mut office(&station, &["state", "restore", &backup]));
    assert!(said.contains("ARE NOT IN THE LEDGER"), "{said}");
    assert_eq!(instance(&station), id);

    station.start_again();
    for (train, sealed) in [&before, &after].iter().zip(&sealed) {
        engine.tag(sealed, &train.repository, "latest");
    }
    let unchanged = Before::of(&engine, &before);
    refused("finished before the backup", station.pre_run(&before.image), "TRAIN_REPLAYED");
    unchanged.assert(&station, "a replay after a restore");
    // What a backup cannot know, and what the command says so loudly.
    assert!(!station.pre_run(&after.image).unwrap().repeated_answer);
}

#[test]
fn an_open_run_goes_on_after_a_move_to_another_disk() {
    let (engine, mut station) = (Engine::connect(), Station::start("a"));
    let room = tempfile::tempdir().unwrap();
    let backup = room.path().join("backup").to_str().unwrap().to_owned();
    let train = Train::of(&[station.seat()]).make();
    let run = station.pre_run(&train.image).unwrap();
    json(&station, &["state", "backup", &backup]);
    station.stop();
    loses_its_state(&station);
    fails(&station, &["state", "restore", &backup], 5, &run.run_id);
    assert!(!station.state().join(LEDGER).exists(), "something is in place");
    json(&station, &["state", "restore", &backup, "--open-runs", "keep"]);
    station.start_again();
    run_script(&engine, &train.image, RESULTS);
    station.post_run(&run.run_id).unwrap();
    assert_eq!(train.open(&[]).stops_signed, 1);
}

#[test]
fn a_backup_is_whole_however_busy_the_service_is() {
    let station = Station::start("a");
    let room = tempfile::tempdir().unwrap();
    let trains: Vec<Train> = (0..3).map(|_| Train::of(&[station.seat()]).make()).collect();
    std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            for train in &trains {
                let run = station.pre_run(&train.image).unwrap();
                station.post_run_without_results(&run.run_id).unwrap();
            }
        });
        let mut number = 0;
        while !work.is_finished() || number == 0 {
            let (backup, into) = (room.path().join(format!("backup-{number}")), room.path().join(format!("state-{number}")));
            json(&station, &["state", "backup", backup.to_str().unwrap()]);
            let mut restore = std::process::Command::new(crate::support::PROGRAM);
            restore.args(["state", "restore", "--open-runs", "keep", "--state"]).arg(&into).arg(&backup);
            output(&mut restore);
            number += 1;
        }
        println!("{number} backups under work, each of them whole");
        work.join().unwrap();
    });
}
