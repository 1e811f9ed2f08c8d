//! `first-use`: the first key seen for an id is trusted from then on, once everything else of its train was verified.

use stationmaster::{trust, trust::OwnerKind};
use stationmaster_proto::RuleOutcome;

use super::{fingerprint, outcome};
use crate::support::{
    Engine, Peer, Seat, Station, Train, set,
    tamper::{Before, Rootfs, refused},
};

fn start() -> Station {
    Station::with("a").start_configured(|config| set(config, "trust", "mode", "first-use"))
}

fn seen(station: &Station) -> Vec<String> {
    match trust::file::read(&station.state().join("first-seen.toml")) {
        Err(trust::TrustError::File(trust::FileError::Missing(_))) => Vec::new(),
        store => {
            let store = store.expect("a trust file");
            let pins = [OwnerKind::Creator, OwnerKind::Station].into_iter().flat_map(|kind| store.pins(kind));
            pins.map(|pin| pin.key.fingerprint()).collect()
        }
    }
}

#[test]
fn the_first_key_of_an_id_is_pinned_and_another_is_refused() {
    let (mut station, engine) = (start(), Engine::connect());
    let directory = tempfile::tempdir().unwrap();
    let next = Peer::newest().station("b", 2048, directory.path());
    let next = Seat { id: "b".into(), hex_pem: next.hex_pem };
    let train = Train::of(&[station.seat(), next.clone()]).make();
    let mut broken = Rootfs::of(&engine, &train.image);
    broken.content("opt/pht_train/data.bin")[20] ^= 1;
    broken.put(&engine, &train.repository, "broken");
    refused("a broken train", station.pre_run(&format!("{}:broken", train.repository)), "TRAIN_AUTHENTICATION_FAILED");
    assert_eq!(seen(&station), Vec::<String>::new(), "a train that did not prove right was believed");

    let run = station.pre_run(&train.image).unwrap();
    let expected = [fingerprint(&train.creator().hex_pem), fingerprint(&next.hex_pem)];
    assert_eq!(seen(&station), expected);
    for fingerprint in &expected {
        assert!(
            run.warnings.iter().any(|warning| warning.contains(fingerprint)),
            "{fingerprint} is not said: {:?}",
            run.warnings
        );
    }
    assert_eq!(outcome(&run.rules, "creator-pinned"), RuleOutcome::Checked);
    assert!(station.log().contains("pinned at first sight"));

    // The same creator's id with another key, before and after a restart.
    let other = Train::of(&[station.seat(), next]).make();
    for _ in 0..2 {
        let before = Before::of(&engine, &other);
        let refusal = refused("another key", station.pre_run(&other.image), "KEY_UNTRUSTED");
        assert_eq!((refusal.metadata["who"].as_str(), seen(&station)), ("creator", expected.to_vec()));
        before.assert(&station, "another key");
        station.stop();
        station.start_again();
    }
    station.post_run_without_results(&run.run_id).expect("what was pinned is believed after the run");
}

#[test]
fn an_administrators_entry_takes_precedence_over_a_key_seen_first() {
    let station = start();
    let (first, second) = (Train::of(&[station.seat()]).make(), Train::of(&[station.seat()]).make());
    let run = station.pre_run(&first.image).unwrap();
    station.trust_creator(&second);
    refused("the administrator's entry is another key", station.post_run_without_results(&run.run_id), "KEY_UNTRUSTED");
    let run = station.pre_run(&second.image).unwrap();
    assert!(!run.warnings.iter().any(|warning| warning.contains("seen first")), "{:?}", run.warnings);
}
