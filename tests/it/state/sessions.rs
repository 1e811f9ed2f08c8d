//! A train session belongs to what it was first opened as here: neither `@id` nor the route's indices are signed.

use super::{fails, json, sql};
use crate::{
    access::principals::me,
    steps::refusals::wrap,
    support::{
        Engine, Station, Train,
        tamper::{Before, RESULTS, Rootfs, Scene, refused, run_script},
    },
};

#[test]
fn a_session_that_ran_here_does_not_run_once_more_with_another_index() {
    let (engine, ours, other) = (Engine::connect(), Station::start("a"), Station::start("x"));
    let train = Train::of(&[ours.seat(), other.seat()]).make();
    let mut sealed = Rootfs::of(&engine, &train.image);
    let run = ours.pre_run(&train.image).unwrap();
    run_script(&engine, &train.image, RESULTS);
    ours.post_run(&run.run_id).unwrap();
    // An attacker turns the route round: the other stop comes first, signs, and the train comes to us as a later stop's.
    sealed.edit_config(|config| {
        for stop in config["route"].as_array_mut().unwrap() {
            stop["index"] = (1 - stop["index"].as_u64().unwrap()).into();
            stop["encrypted_key"] = wrap(stop["rsa_public_key"].as_str().unwrap(), &train.envelope_key()).into();
        }
    });
    sealed.put(&engine, &train.repository, "latest");
    let at_other = other.pre_run(&train.image).unwrap();
    assert_eq!(at_other.stop_index, 0);
    run_script(&engine, &train.image, RESULTS);
    other.post_run(&at_other.run_id).unwrap();
    assert_eq!(ours.inspect(&train.image).unwrap().own_index, Some(1));
    let before = Before::of(&engine, &train);
    let refusal = refused("with another index", ours.pre_run(&train.image), "TRAIN_REPLAYED");
    assert_eq!((refusal.metadata["differs"].as_str(), &refusal.metadata["run_id"]), ("stop", &run.run_id));
    before.assert(&ours, "with another index");
    // An administrator's permission is for the stop that ran, and for no other.
    json(&ours, &["run", "allow-again", &run.run_id, "--reason", "asked for"]);
    refused("after allow-again", ours.pre_run(&train.image), "TRAIN_REPLAYED");
    assert_eq!(refused("read", ours.open_results(&train.image, &[]), "TRAIN_REPLAYED").metadata["differs"], "stop");
}

#[test]
fn a_reader_of_one_train_gets_no_other_trains_results_by_its_id_rewritten() {
    let scene = Scene::set();
    let station = &scene.station;
    let run = scene.pre_run().unwrap();
    run_script(&scene.engine, &scene.train.image, RESULTS);
    station.post_run(&run.run_id).unwrap();
    let own = scene.train.made["train_id"].as_str().unwrap();
    let mut rewritten = scene.rootfs();
    rewritten.edit_config(|config| config["@id"] = "granted-train".into());
    rewritten.put(&scene.engine, &scene.train.repository, "rewritten");
    let image = format!("{}:rewritten", scene.train.repository);
    let opt = rewritten.only("opt").tar();
    let grant = |trains: &[&str]| {
        let rpcs = ["OpenResults", "InspectTrain", "PreRun", "HashImage", "VerifyTrain", "CheckPush"];
        let text = format!("version = 1\n[[grant]]\nprincipal = {:?}\nrpcs = {rpcs:?}\ntrains = {trains:?}\n", me());
        std::fs::write(station.state().join("access.toml"), text).unwrap();
    };
    grant(&["granted-train"]);
    refused("results", station.open_results(&image, &[]), "RPC_NOT_ALLOWED");
    refused("results of an archive", station.open_results_in(&opt, &[]), "RPC_NOT_ALLOWED");
    refused("inspect", station.inspect(&image), "RPC_NOT_ALLOWED");
    refused("pre-run", station.pre_run(&image), "RPC_NOT_ALLOWED");
    refused("hash", station.hash(&image, true), "RPC_NOT_ALLOWED");
    refused("verify", station.verify(&image), "RPC_NOT_ALLOWED");
    refused("check-push", station.check_push(&image), "RPC_NOT_ALLOWED");
    // A caller who may have both is told that they are not the same.
    grant(&["granted-train", own]);
    let refusal = refused("results", station.open_results(&image, &[]), "TRAIN_REPLAYED");
    assert_eq!(refusal.metadata["differs"], "train-id");
    grant(&[own]);
    let (files, outcome) = station.open_results(&scene.train.image, &[]).unwrap();
    assert_eq!((files.len(), outcome.train_id.as_str()), (2, own));
}

#[test]
fn a_session_keeps_its_creator_and_its_id_whatever_becomes_of_its_runs() {
    let mut scene = Scene::set();
    let run = scene.pre_run().unwrap();
    scene.station.abort(&run.run_id).unwrap();
    let sealed = scene.rootfs();
    let mut renamed = sealed.clone();
    renamed.edit_config(|config| config["@id"] = "another".into());
    renamed.put(&scene.engine, &scene.train.repository, "renamed");
    let renamed = format!("{}:renamed", scene.train.repository);
    let refusal = refused("another id", scene.station.pre_run(&renamed), "TRAIN_REPLAYED");
    assert_eq!(refusal.metadata["differs"], "train-id");
    assert!(!refusal.metadata.contains_key("run_id"), "an aborted run is no run of the session's: {refusal:?}");
    // Had the first copy been the changed one: an administrator's command binds the session again, once no run uses it.
    let session = scene.train.made["session_id"].as_str().unwrap().to_owned();
    let open = scene.pre_run().unwrap();
    let forget = ["run", "forget-session", &session, "--reason", "the first copy was changed"];
    fails(&scene.station, &forget, 5, "run list");
    scene.station.abort(&open.run_id).unwrap();
    json(&scene.station, &forget);
    fails(&scene.station, &forget, 3, "the id is complete");
    scene.station.abort(&scene.station.pre_run(&renamed).unwrap().run_id).unwrap();
    assert_eq!(refused("the id of before", scene.pre_run(), "TRAIN_REPLAYED").metadata["differs"], "train-id");
    json(&scene.station, &forget);
    scene.still_works();
    scene.station.stop();
    sql(&scene.station, "UPDATE sessions SET creator_key = 'SHA256:another'");
    scene.station.start_again();
    let other = scene.engine.find(&scene.train.base).unwrap();
    scene.engine.tag(&other, &scene.train.repository, "latest");
    let open = json(&scene.station, &["run", "list", "--open"])["runs"][0]["run_id"].as_str().unwrap().to_owned();
    scene.station.abort(&open).unwrap();
    assert_eq!(refused("another creator", scene.pre_run(), "TRAIN_REPLAYED").metadata["differs"], "creator");
}
