//! Results and the chain of stops (15, 17, 18, 20, 21).

use serde_json::Value;
use stationmaster_proto::RuleOutcome;

use super::{
    Lib, VERSIONS, arrives, opened, private_key, second_stop_refuses, train_lib_opens, train_lib_takes_at_second_stop, under_way,
    unwrapped,
};
use crate::{
    support::{
        Engine, Station, Train,
        tamper::{RESULTS, Rootfs, Scene, refused, run_script, stop},
    },
    trust::outcome,
};

#[test]
fn chain_splice_of_another_train() {
    // At train_lib's second stop, and at ours.
    for version in VERSIONS {
        let [first, second] = ["a", "b"].map(|id| Lib::new(version, id));
        let [train, other] = [(); 2].map(|()| under_way(&first, second.seat()));
        arrives(&train, &splice(&other));
        second.passes(&train);
    }
    let (first, ours) = (Lib::new("2.0.6a0", "a"), Station::with("b").start_pinned());
    let [train, other] = [(); 2].map(|()| under_way(&first, ours.seat()));
    ours.trust_train(&train);
    arrives(&train, &splice(&other));
    refused("another train's link", ours.pre_run(&train.image), "TRAIN_AUTHENTICATION_FAILED");
    assert!(ours.log().contains("its chain digest belongs to another train or state"), "it was refused for something else");
}

/// The first link of another train, in the place of this one's.
fn splice(other: &Train) -> impl Fn(&mut Rootfs) {
    let other = Rootfs::of(&Engine::connect(), &other.image).config();
    move |train| train.edit_config(|config| stop(config, 0)["signature"] = stop(&mut other.clone(), 0)["signature"].take())
}

#[test]
fn strip_result_hash() {
    let attack = |train: &mut Rootfs| {
        train.edit_config(|config| (config["result_hash"], config["result_signature"]) = (Value::Null, Value::Null));
        *train.content("opt/pht_results/d/a") = b"FORGED".to_vec();
    };
    train_lib_takes_at_second_stop(&attack);
    let refusal = second_stop_refuses(&attack, "ROUTE_REJECTED");
    assert!(refusal.message.contains("no results digest"), "{}", refusal.message);
}

#[test]
fn replay() {
    for version in VERSIONS {
        let lib = Lib::new(version, "a");
        let (engine, train) = (Engine::connect(), Train::of(&[lib.seat()]).make());
        lib.passes(&train);
        engine.tag(&engine.find(&train.base).unwrap(), &train.repository, "latest");
        lib.passes(&train);
    }
    // At our second stop: a state that ran here, and another one of the same session.
    let (first, ours) = (Lib::new("2.0.6a0", "a"), Station::with("b").start_pinned());
    let (engine, train) = (Engine::connect(), under_way(&first, ours.seat()));
    ours.trust_train(&train);
    let state = engine.find(&train.image).unwrap();
    engine.tag(&state, &train.repository, "state");
    let run = ours.pre_run(&train.image).unwrap();
    ours.post_run_without_results(&run.run_id).unwrap();
    engine.tag(&state, &train.repository, "latest");
    let refusal = refused("the state that ran", ours.pre_run(&train.image), "TRAIN_REPLAYED");
    assert_eq!(refusal.metadata["run_id"], run.run_id);
    engine.tag(&engine.find(&train.base).unwrap(), &train.repository, "latest");
    first.passes(&train);
    let refusal = refused("another state of the session", ours.pre_run(&train.image), "TRAIN_REPLAYED");
    assert_eq!(refusal.metadata["run_id"], run.run_id);
}

#[test]
fn a_replay_at_another_station_is_not_detected_and_the_report_says_so() {
    // The first stop ran the train twice. Which of the two states comes here first is the one that runs here.
    let (first, ours) = (Lib::new("2.0.6a0", "a"), Station::with("b").start_pinned());
    let (engine, train) = (Engine::connect(), under_way(&first, ours.seat()));
    ours.trust_train(&train);
    let older = engine.find(&train.image).unwrap();
    engine.tag(&older, &train.repository, "older");
    engine.tag(&engine.find(&train.base).unwrap(), &train.repository, "latest");
    first.passes(&train);
    engine.tag(&older, &train.repository, "latest");
    let run = ours.pre_run(&train.image).unwrap();
    assert_eq!(outcome(&run.rules, "replay-elsewhere"), RuleOutcome::NotCheckable);
    // Nor is a stop held by a run that was given up.
    ours.abort(&run.run_id).unwrap();
    assert!(!ours.pre_run(&train.image).unwrap().repeated_answer);
}

#[test]
fn user_bitflip() {
    let scene = Scene::set();
    let run = scene.pre_run().unwrap();
    run_script(&scene.engine, &scene.train.image, "printf +0.10 > /opt/pht_results/effect");
    scene.station.post_run(&run.run_id).unwrap();
    const EFFECT: &str = "opt/pht_results/effect";
    arrives(&scene.train, &|train| {
        for (at, (was, shall_be)) in b"+0".iter().zip(b"-9").enumerate() {
            train.content(EFFECT)[at] ^= was ^ shall_be;
        }
    });
    let mut left = scene.rootfs();
    let wrapped = left.config()["creator"]["encrypted_key"].clone();
    let key = unwrapped(&private_key(&scene.train.creator_key()), &wrapped).expect("the creator's key");
    assert_eq!(opened(&key, left.content(EFFECT)), b"-9.10", "who only decrypts believes it");
    // Who compares the digest that the last stop signed does not. That is the tests' own creator.
    let error = scene.train.try_open(&[], false).expect_err("the creator compares");
    assert_eq!((&error.error[..], &error.message[..]), ("Refused", "the results are not those of `result_hash`"));
    // Without the creator's key no comparison is possible, and a verification says so.
    let found = scene.station.verify(&scene.train.image).unwrap();
    assert!(found.holds);
    assert_eq!(outcome(&found.rules, "results-digest"), RuleOutcome::NotCheckable);
}

#[test]
fn twice() {
    for version in VERSIONS {
        let lib = Lib::new(version, "a");
        let train = Train::of(&[lib.seat()]).make();
        lib.passes(&train);
        assert_eq!(train.open(&[]).code, train.code());
        lib.closes(&train);
        assert_ne!(train.try_open(&[], false).map(|opened| opened.code).ok(), Some(train.code()), "train_lib {version}");
    }
    let scene = Scene::pinned();
    let run = scene.pre_run().unwrap();
    run_script(&scene.engine, &scene.train.image, RESULTS);
    scene.station.post_run(&run.run_id).unwrap();
    assert!(scene.station.post_run(&run.run_id).unwrap().repeated_answer);
    assert_eq!(scene.train.open(&[]).code, scene.train.code());
}

#[test]
fn odd_indices() {
    for index in [-1, 5] {
        let attack = |train: &mut Rootfs| train.edit_config(|config| config["route"][0]["index"] = index.into());
        train_lib_opens(&attack, |_| {});
        let ours = Scene::pinned();
        let mut arrived = ours.rootfs();
        attack(&mut arrived);
        ours.refuses("an odd index", &arrived, "ROUTE_REJECTED");
    }
}
