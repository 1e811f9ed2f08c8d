//! There is one way to the token for a train: no call uses a key for a train that was not admitted.

use serde_json::Value;
use stationmaster::trust::OwnerKind;

use crate::{
    access::principals::{grant, me},
    audit::evidence::records,
    support::{
        Station,
        tamper::{Scene, refused},
    },
};

/// Uses of keys that were announced, but for the audit's own.
fn uses(station: &Station) -> Vec<Value> {
    records(station, &["--event", "key-use"]).into_iter().filter(|record| record["rpc"] != "checkpoint").collect()
}

#[test]
fn no_call_uses_the_token_for_a_train_that_is_not_trusted() {
    let scene = Scene::with(Station::with("a").start_pinned());
    let (station, image) = (&scene.station, &scene.train.image);
    for beginning in ["no key is trusted", "the creator alone is gone"] {
        refused(beginning, scene.pre_run(), "KEY_UNTRUSTED");
        let refusal = refused(beginning, station.hash(image, true), "KEY_UNTRUSTED");
        assert_eq!((refusal.metadata["who"].as_str(), refusal.metadata["rule"].as_str()), ("creator", "creator-pinned"));
        refused(beginning, station.hash(image, false), "KEY_UNTRUSTED");
        refused(beginning, station.open_results(image, &[]), "KEY_UNTRUSTED");
        assert_eq!(uses(station), [Value::Null; 0], "{beginning}: a key was used");
        station.trust_train(&scene.train);
        let creator = scene.train.creator();
        station.edit_trust(|store| assert_eq!(store.remove(OwnerKind::Creator, &creator.id, None).len(), 1));
    }
    station.trust_train(&scene.train);
    assert!(station.hash(image, true).unwrap().train.expect("digests of the train").sealed);
    assert_eq!(uses(station).len(), 1, "one decryption");
}

#[test]
fn a_session_id_of_another_length_is_refused_by_every_call_before_the_token_is_used() {
    let scene = Scene::pinned();
    let mut arrived = scene.rootfs();
    arrived.edit_config(|config| config["session_id"] = "ab".repeat(32).into());
    arrived.put(&scene.engine, &scene.train.repository, "latest");
    let image = &scene.train.image;
    for refusal in [
        refused("pre-run", scene.pre_run(), "IMAGE_POLICY_VIOLATION"),
        refused("hash", scene.station.hash(image, true), "IMAGE_POLICY_VIOLATION"),
        refused("results", scene.station.open_results(image, &[]), "IMAGE_POLICY_VIOLATION"),
    ] {
        assert_eq!(refusal.metadata["rule"], "session-id-length");
    }
    assert_eq!(uses(&scene.station), [Value::Null; 0]);
}

#[test]
fn a_repeated_pre_run_is_answered_to_a_caller_that_the_first_would_be() {
    let scene = Scene::pinned();
    let (station, image) = (&scene.station, &scene.train.image);
    let run = station.pre_run_as(image, "the first caller's").unwrap();
    let again = || [station.pre_run(image), station.pre_run_as(image, "the first caller's")];
    grant(station, &[(&me(), &["PreRun"], Some(&["another-key"]))]);
    for answer in again() {
        refused("a key that is not granted", answer, "KEY_NOT_ALLOWED");
    }
    grant(station, &[(&me(), &["PreRun"], None)]);
    let creator = scene.train.creator();
    station.edit_trust(|store| assert_eq!(store.remove(OwnerKind::Creator, &creator.id, None).len(), 1));
    for answer in again() {
        refused("a creator who is believed no longer", answer, "KEY_UNTRUSTED");
    }
    station.trust_train(&scene.train);
    for answer in again() {
        let answer = answer.unwrap();
        assert!(answer.repeated_answer && answer.run_id == run.run_id && answer.query == run.query, "{answer:?}");
    }
}
