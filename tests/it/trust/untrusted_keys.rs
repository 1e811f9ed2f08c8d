//! Unknown keys: a party that controls the registry but no trusted key gets nothing run, signed or wrapped.

use openssl::{
    hash::MessageDigest,
    pkey::{PKey, Private},
    rsa::Rsa,
    sign::Signer,
};
use serde_json::Value;
use stationmaster::trust::{OwnerKind, TrustStore};

use super::fingerprint;
use crate::support::{
    Engine, Peer, Refusal, Seat, Station, Train,
    tamper::{Before, RESULTS, Rootfs, Scene, flip_hex, refused, run_script, stop},
};

/// A key of another party.
pub fn key() -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()
}

/// As routes carry it.
pub fn hex_pem(key: &PKey<Private>) -> String {
    const_hex::encode(key.public_key_to_pem().unwrap())
}

fn sign(key: &PKey<Private>, message: &[u8]) -> Vec<u8> {
    Signer::new(MessageDigest::sha512(), key).unwrap().sign_oneshot_to_vec(message).unwrap()
}

/// Another creator's key in place of the true one, with everything signed anew; a builder's key is any key.
pub fn replace_creator(config: &mut Value) -> PKey<Private> {
    let (creator, builder) = (key(), key());
    let hash = const_hex::decode(config["hash"].as_str().unwrap()).unwrap();
    let signature = sign(&creator, &hash);
    config["creator"]["rsa_public_key"] = hex_pem(&creator).into();
    config["build"]["rsa_public_key"] = hex_pem(&builder).into();
    config["build"]["signature"] = const_hex::encode(sign(&builder, &[&hash[..], &signature].concat())).into();
    config["signature"] = const_hex::encode(signature).into();
    creator
}

/// One more stop behind the last.
pub fn append(config: &mut Value, id: &str, hex_pem: &str) {
    let route = config["route"].as_array_mut().unwrap();
    let mut more = route[0].clone();
    more["station"] = id.into();
    more["index"] = route.len().into();
    more["rsa_public_key"] = hex_pem.into();
    (more["encrypted_key"], more["signature"]) = (Value::Null, Value::Null);
    route.push(more);
}

#[track_caller]
fn names(refusal: &Refusal, who: &str, rule: &str, hex_pem: &str) {
    assert_eq!(refusal.code, tonic::Code::FailedPrecondition);
    let metadata: Vec<_> = refusal.metadata.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(metadata, [("fingerprint", fingerprint(hex_pem).as_str()), ("rule", rule), ("who", who)]);
    assert!(refusal.message.contains("stationmaster trust add"), "no hint: {}", refusal.message);
}

#[test]
fn a_train_with_unknown_keys_is_refused_before_the_token_is_used() {
    let station = Station::with("a").start_pinned();
    let train = Train::of(&[station.seat()]).make();
    let scene = Scene { train, station, engine: Engine::connect() };
    let mut arrived = scene.rootfs();
    let creator = scene.train.creator();
    names(&scene.refuses("an unknown creator's train", &arrived, "KEY_UNTRUSTED"), "creator", "creator-pinned", &creator.hex_pem);
    // The token would not open this one: that is not tried for an unknown key.
    arrived.edit_config(|config| flip_hex(&mut stop(config, 0)["encrypted_key"]));
    scene.refuses("a wrapped key to try out", &arrived, "KEY_UNTRUSTED");
    let log = scene.station.log();
    assert!(log.lines().any(|line| line.contains(&creator.id) && line.contains(&fingerprint(&creator.hex_pem))), "{log}");
    scene.station.trust_train(&scene.train);
    scene.still_works();
}

#[test]
fn a_creators_key_that_was_replaced_with_everything_signed_anew_is_refused() {
    let scene = Scene::pinned();
    let (mut arrived, mut unknown) = (scene.rootfs(), String::new());
    arrived.edit_config(|config| unknown = hex_pem(&replace_creator(config)));
    names(&scene.refuses("another creator", &arrived, "KEY_UNTRUSTED"), "creator", "creator-pinned", &unknown);
    scene.still_works();
    // It is the trust file that refuses it: a station that trusts the train's own keys opens it.
    let scene = Scene::set();
    let mut arrived = scene.rootfs();
    arrived.edit_config(|config| drop(replace_creator(config)));
    arrived.put(&scene.engine, &scene.train.repository, "latest");
    let run = scene.pre_run().expect("with embedded keys it proves right");
    assert!(run.warnings.iter().any(|warning| warning == stationmaster::protocol::EMBEDDED), "{:?}", run.warnings);
}

#[test]
fn a_stop_that_was_added_to_the_route_is_refused_before_the_run() {
    let scene = Scene::pinned();
    let (mut arrived, attacker) = (scene.rootfs(), hex_pem(&key()));
    arrived.edit_config(|config| append(config, "z", &attacker));
    names(&scene.refuses("one more stop", &arrived, "KEY_UNTRUSTED"), "1", "stations-pinned", &attacker);
    scene.still_works();
}

#[test]
fn a_station_whose_key_was_replaced_is_refused_by_those_before_and_after_it() {
    let stations = ["a", "b", "c"].map(|id| Station::with(id).start_pinned());
    let train = Train::of(&stations.each_ref().map(Station::seat)).make();
    stations.iter().for_each(|station| station.trust_train(&train));
    let [first, _, last] = stations;
    let attacker = Peer::newest().station("b", 2048, train.directory());
    let engine = Engine::connect();
    let mut arrived = Rootfs::of(&engine, &train.image);
    arrived.edit_config(|config| stop(config, 1)["rsa_public_key"] = attacker.hex_pem.clone().into());
    arrived.put(&engine, &train.repository, "latest");
    let before = Before::of(&engine, &train);
    let refusal = refused("before it", first.pre_run(&train.image), "KEY_UNTRUSTED");
    names(&refusal, "1", "stations-pinned", &attacker.hex_pem);
    assert!(refusal.message.contains("another key is trusted"), "{}", refusal.message);
    before.assert(&first, "before it");

    // The stop before is deceived (it trusts the train), the attacker acts as b, and c sees it.
    drop(first);
    let deceived = Station::start("a");
    let true_b = train.seats().swap_remove(1);
    let false_b = Seat { id: "b".into(), hex_pem: attacker.hex_pem.clone() };
    let train = Train::of(&[deceived.seat(), false_b, last.seat()]).make();
    last.edit_trust(|store| *store = TrustStore::default());
    last.trust_creator(&train);
    last.trust_stations(&[deceived.seat(), true_b]);
    let run = deceived.pre_run(&train.image).unwrap();
    deceived.post_run_without_results(&run.run_id).unwrap();
    attacker.pre_run(&train.image).unwrap();
    attacker.post_run(&train.image).unwrap();
    let before = Before::of(&engine, &train);
    names(&refused("after it", last.pre_run(&train.image), "KEY_UNTRUSTED"), "1", "stations-pinned", &attacker.hex_pem);
    before.assert(&last, "after it");
}

#[test]
fn a_key_that_is_trusted_no_longer_gets_nothing_after_the_run_and_nothing_is_lost() {
    let scene = Scene::pinned();
    let run = scene.pre_run().unwrap();
    run_script(&scene.engine, &scene.train.image, RESULTS);
    let creator = scene.train.creator();
    scene.station.edit_trust(|store| assert_eq!(store.remove(OwnerKind::Creator, &creator.id, None).len(), 1));
    let before = Before::of(&scene.engine, &scene.train);
    let refusal = refused("no longer trusted", scene.station.post_run(&run.run_id), "KEY_UNTRUSTED");
    names(&refusal, "creator", "wrap-for-trusted", &creator.hex_pem);
    before.assert(&scene.station, "no longer trusted");
    scene.station.trust_creator(&scene.train);
    scene.station.post_run(&run.run_id).expect("the run was still open");
    assert_eq!(scene.train.open(&[]).stops_signed, 1);
}
