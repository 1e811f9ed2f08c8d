//! A real train is verified before every stop and at the end, in every form in which it can be read.

use super::{broken, delivered, note};
use crate::support::{
    Engine, LibStation, Mode, Peer, Station, Train,
    tamper::{fetched, saved},
};

/// Looks at a train in every way, and at whether it may be pushed.
#[track_caller]
fn holds(engine: &Engine, auditor: &Station, train: &Train, signed: u32) {
    let image = &train.image;
    for (what, found) in [
        ("the image", auditor.verify(image)),
        ("/opt", auditor.verify_archive(&fetched(engine, image, "/opt"))),
        ("what the extractor delivers", auditor.verify_archive(&delivered(engine, image).tar())),
        ("docker save", auditor.verify_archive(&saved(image))),
    ] {
        let found = found.unwrap_or_else(|refusal| panic!("{what} after {signed} stops: {refusal:?}"));
        assert_eq!(broken(&found.rules), [""; 0], "{what} after {signed} stops: {:#?}", found.rules);
        assert!(found.holds && (found.stops_signed, found.stops) == (signed, 3), "{what}");
        assert_eq!(found.session_id, train.session_id());
        assert_eq!(found.train_id, train.made["train_id"].as_str().unwrap());
        assert_eq!(note(&found.rules, "creator-pinned"), "no trust store was given");
    }
    let verdict = auditor.check_push(image).unwrap();
    assert_eq!(broken(&verdict.rules), [""; 0], "after {signed} stops: {:#?}", verdict.findings);
    assert!(verdict.ok && verdict.findings.is_empty() && verdict.run_id.is_empty());
    // The first image is its own base.
    assert_eq!(verdict.layers - verdict.base_layers, if signed == 0 { verdict.layers } else { 1 });
}

fn lib_stop(station: &LibStation, version: &str, image: &str, mode: Mode) {
    station.pre_run(image).unwrap();
    Peer::new(version).run_train(image, mode, &[]);
    station.post_run(image).unwrap();
}

fn ours_stop(station: &Station, image: &str) {
    let run = station.pre_run(image).unwrap();
    Peer::newest().run_train(image, Mode::Commit, &[]);
    station.post_run(&run.run_id).unwrap();
}

#[test]
fn a_train_between_train_lib_and_us_holds_at_every_stop() {
    let (engine, directory) = (Engine::connect(), tempfile::tempdir().unwrap());
    let first = Peer::new("2.0.5").station("first", 2048, directory.path());
    let second = Station::start("second");
    let third = Peer::new("2.0.6a0").station("third", 3072, directory.path());
    let seat = |station: &LibStation| crate::support::Seat { id: station.id.clone(), hex_pem: station.hex_pem.clone() };
    let train = Train::of(&[seat(&first), second.seat(), seat(&third)]).file("large.bin", 1 << 20).make();
    holds(&engine, &second, &train, 0);
    lib_stop(&first, "2.0.5", &train.image, Mode::Dag);
    holds(&engine, &second, &train, 1);
    ours_stop(&second, &train.image);
    holds(&engine, &second, &train, 2);
    lib_stop(&third, "2.0.6a0", &train.image, Mode::Dag);
    holds(&engine, &second, &train, 3);
}

#[test]
fn a_train_of_ours_alone_holds_at_the_end() {
    let engine = Engine::connect();
    let stations = ["a", "b", "c"].map(Station::start);
    let train = Train::of(&stations.each_ref().map(Station::seat)).without_query().make();
    for (signed, station) in (1..).zip(&stations) {
        ours_stop(station, &train.image);
        holds(&engine, station, &train, signed);
    }
}
