//! What a run does, and what is left of it (13, 14, 22, 23, 28, 43).

use openssl::pkey::{PKey, Private};

use super::{Lib, VERSIONS, opened, under_way, unwrapped};
use crate::{
    support::{
        Engine, Mode, Peer, Station, Train, set,
        tamper::{RESULTS, Rootfs, Scene, holds, refused, run_script},
    },
    trust::replace_creator,
};

#[test]
fn rebase() {
    let changes = format!("{RESULTS}; echo more >> /opt/pht_train/run.sh; echo new > /opt/pht_train/new.sh");
    for version in VERSIONS {
        let (lib, next) = (Lib::new(version, "a"), Station::with("b").start_pinned());
        let train = Train::of(&[lib.seat(), next.seat()]).make();
        lib.opens(&train);
        run_script(&Engine::connect(), &train.image, &changes);
        lib.closes(&train);
        assert!(Rootfs::of(&Engine::connect(), &train.image).below("opt/pht_train").contains("new.sh"));
        // What train_lib signed and sent on does not get past us.
        next.trust_train(&train);
        refused("changed code", next.pre_run(&train.image), "TRAIN_AUTHENTICATION_FAILED");
    }
    let ours = Scene::pinned();
    let run = ours.pre_run().unwrap();
    run_script(&ours.engine, &ours.train.image, &changes);
    let refusal = refused("changed code", ours.station.post_run(&run.run_id), "IMAGE_POLICY_VIOLATION");
    assert_eq!(refusal.metadata["rule"], "immutable-files-unchanged");
}

/// A run that puts another creator into the config, and that creator's key.
fn config_with_another_creator(train: &Train) -> (String, PKey<Private>) {
    let mut config = Rootfs::of(&Engine::connect(), &train.image).config();
    let attacker = replace_creator(&mut config);
    assert!(!config.to_string().contains('\''));
    (format!("{RESULTS}; printf %s '{config}' > /opt/train_config.json"), attacker)
}

#[test]
fn config_reread() {
    let reads = |train: &Train, attacker: &PKey<Private>| {
        let mut left = Rootfs::of(&Engine::connect(), &train.image);
        let wrapped = left.config()["creator"]["encrypted_key"].clone();
        unwrapped(attacker, &wrapped).map(|key| opened(&key, left.content("opt/pht_results/d/a")))
    };
    for version in VERSIONS {
        let lib = Lib::new(version, "a");
        let train = Train::of(&[lib.seat()]).make();
        lib.opens(&train);
        let (script, attacker) = config_with_another_creator(&train);
        run_script(&Engine::connect(), &train.image, &script);
        // As the container entry point does it.
        lib.station.post_run_rereading(&train.image).expect("train_lib takes it");
        assert_eq!(reads(&train, &attacker).as_deref(), Some(&b"PLAINTEXT-CANARY-RESULT\n"[..]), "train_lib {version}");
    }
    let ours = Scene::pinned();
    let run = ours.pre_run().unwrap();
    let (script, attacker) = config_with_another_creator(&ours.train);
    run_script(&ours.engine, &ours.train.image, &script);
    ours.station.post_run(&run.run_id).unwrap();
    assert_eq!(reads(&ours.train, &attacker), None);
    assert_eq!(ours.train.open(&[]).stops_signed, 1);
}

#[test]
fn same_iv() {
    let twins = "for name in a b; do echo the same first block > /opt/pht_results/$name; done";
    let first_blocks = |train: &Train| {
        let mut left = Rootfs::of(&Engine::connect(), &train.image);
        ["a", "b"].map(|name| left.content(&format!("opt/pht_results/{name}"))[..32].to_vec())
    };
    for version in VERSIONS {
        let lib = Lib::new(version, "a");
        let train = Train::of(&[lib.seat()]).make();
        lib.opens(&train);
        run_script(&Engine::connect(), &train.image, twins);
        lib.closes(&train);
        let [a, b] = first_blocks(&train);
        assert_eq!(a, b, "train_lib {version}");
    }
    let ours = Scene::pinned();
    let run = ours.pre_run().unwrap();
    run_script(&ours.engine, &ours.train.image, twins);
    ours.station.post_run(&run.run_id).unwrap();
    let [a, b] = first_blocks(&ours.train);
    assert!(a[..16] != b[..16] && a[16..] != b[16..]);
}

#[test]
fn hard_linked_result() {
    // What train_lib makes of it is `verify::push`' to show.
    let ours = Scene::pinned();
    let run = ours.pre_run().unwrap();
    run_script(&ours.engine, &ours.train.image, "echo row > /opt/pht_results/a; ln /opt/pht_results/a /opt/pht_results/b");
    let refusal = refused("a hard link", ours.station.post_run(&run.run_id), "IMAGE_POLICY_VIOLATION");
    assert_eq!(refusal.metadata["rule"], "no-links-or-special-files");
}

#[test]
fn logs() {
    let first = Lib::new("2.0.6a0", "a");
    let ours = Station::with("b").start_pinned_and(|config| set(config, "log", "filter", "trace"));
    let train = under_way(&first, ours.seat());
    ours.trust_train(&train);
    let run = ours.pre_run(&train.image).unwrap();
    Peer::newest().run_train(&train.image, Mode::Commit, &[]);
    ours.post_run(&run.run_id).unwrap();
    let log = ours.log();
    assert!(log.contains("TRACE"), "the log is not at its most talkative");
    for canary in train.canaries() {
        assert!(!holds(log.as_bytes(), canary), "the log shows {}", String::from_utf8_lossy(canary));
    }
    assert!(!log.contains(&ours.pin()), "the log shows the PIN");
}

#[test]
fn empty_query() {
    for version in VERSIONS {
        let [first, second] = ["a", "b"].map(|id| Lib::new(version, id));
        let train = Train::of(&[first.seat(), second.seat()]).empty_query().make();
        first.passes(&train);
        second.station.pre_run(&train.image).expect_err("train_lib seals the query twice");
    }
    let stations = ["a", "b"].map(|id| Station::with(id).start_pinned());
    let train = Train::of(&stations.each_ref().map(Station::seat)).empty_query().make();
    for station in &stations {
        station.trust_train(&train);
        let run = station.pre_run(&train.image).unwrap();
        assert_eq!((run.has_query, run.query.len()), (true, 0));
        run_script(&Engine::connect(), &train.image, RESULTS);
        station.post_run(&run.run_id).unwrap();
    }
}
