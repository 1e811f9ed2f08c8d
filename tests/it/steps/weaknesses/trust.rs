//! Which keys are trusted (1 to 5). `trust::untrusted_keys` tests that this station refuses these trains; here is what they do elsewhere.

use super::{Lib, VERSIONS, arrives, opened, unwrapped};
use crate::{
    support::{
        Engine, Station, Train,
        tamper::{Rootfs, Scene, refused, stop},
    },
    trust::{append, hex_pem, key, replace_creator},
};

const RESULT: &str = "opt/pht_results/d/a";

/// Whether who holds this wrapped key's private key reads the results.
fn reads(train: &mut Rootfs, private: &openssl::pkey::PKey<openssl::pkey::Private>, wrapped: &serde_json::Value) -> bool {
    unwrapped(private, wrapped).is_some_and(|key| opened(&key, train.content(RESULT)).starts_with(b"PLAINTEXT-CANARY-RESULT"))
}

#[test]
fn no_anchor() {
    for version in VERSIONS {
        let lib = Lib::new(version, "a");
        // The station was never given this creator.
        let train = Train::of(&[lib.seat()]).make();
        lib.passes(&train);
        assert_eq!(train.open(&[]).stops_signed, 1, "train_lib {version} ran and signed it");
    }
    let ours = Station::with("a").start_pinned();
    let train = Train::of(&[ours.seat()]).make();
    let refusal = refused("an unknown creator's train", ours.pre_run(&train.image), "KEY_UNTRUSTED");
    assert_eq!(refusal.metadata["rule"], "creator-pinned");
}

#[test]
fn route_append() {
    let attacker = key();
    for version in VERSIONS {
        let lib = Lib::new(version, "a");
        let train = Train::of(&[lib.seat()]).make();
        arrives(&train, &|train| train.edit_config(|config| append(config, "z", &hex_pem(&attacker))));
        lib.passes(&train);
        let mut left = Rootfs::of(&Engine::connect(), &train.image);
        let wrapped = stop(&mut left.config(), 1)["encrypted_key"].clone();
        assert!(reads(&mut left, &attacker, &wrapped), "train_lib {version} gave the attacker no key");
    }
    let ours = Scene::pinned();
    let mut arrived = ours.rootfs();
    arrived.edit_config(|config| append(config, "z", &hex_pem(&attacker)));
    assert_eq!(ours.refuses("one more stop", &arrived, "KEY_UNTRUSTED").metadata["rule"], "stations-pinned");
}

#[test]
fn creator_replaced() {
    for version in VERSIONS {
        let lib = Lib::new(version, "a");
        let train = Train::of(&[lib.seat()]).make();
        let attacker = std::cell::RefCell::new(None);
        arrives(&train, &|train| train.edit_config(|config| *attacker.borrow_mut() = Some(replace_creator(config))));
        lib.passes(&train);
        let mut left = Rootfs::of(&Engine::connect(), &train.image);
        let wrapped = left.config()["creator"]["encrypted_key"].clone();
        let attacker = attacker.into_inner().expect("a key");
        assert!(reads(&mut left, &attacker, &wrapped), "train_lib {version} gave the attacker no key");
    }
    let ours = Scene::pinned();
    let mut arrived = ours.rootfs();
    arrived.edit_config(|config| drop(replace_creator(config)));
    assert_eq!(ours.refuses("another creator", &arrived, "KEY_UNTRUSTED").metadata["rule"], "creator-pinned");
}

#[test]
fn impersonate() {
    for version in VERSIONS {
        let [first, true_b, false_b, last] = ["a", "b", "b", "c"].map(|id| Lib::new(version, id));
        let train = Train::of(&[first.seat(), true_b.seat(), last.seat()]).make();
        arrives(&train, &|train| {
            train.edit_config(|config| stop(config, 1)["rsa_public_key"] = false_b.seat().hex_pem.into());
        });
        first.passes(&train);
        false_b.passes(&train);
        last.opens(&train);
    }
    let [first, true_b, false_b] = ["a", "b", "b"].map(|id| Lib::new("2.0.6a0", id));
    let last = Station::with("c").start_pinned();
    let train = Train::of(&[first.seat(), true_b.seat(), last.seat()]).make();
    last.trust_train(&train);
    arrives(&train, &|train| train.edit_config(|config| stop(config, 1)["rsa_public_key"] = false_b.seat().hex_pem.into()));
    first.passes(&train);
    false_b.passes(&train);
    let refusal = refused("the false b has signed", last.pre_run(&train.image), "KEY_UNTRUSTED");
    assert_eq!((&refusal.metadata["rule"][..], &refusal.metadata["who"][..]), ("stations-pinned", "1"));
}

#[test]
fn own_entry_with_another_key() {
    let other = hex_pem(&key());
    let attack = |train: &mut Rootfs| train.edit_config(|config| stop(config, 0)["rsa_public_key"] = other.clone().into());
    crate::steps::weaknesses::train_lib_opens(&attack, |_| {});
    let ours = Scene::pinned();
    let mut arrived = ours.rootfs();
    attack(&mut arrived);
    ours.refuses("another key for our stop", &arrived, "ROUTE_REJECTED");
}
