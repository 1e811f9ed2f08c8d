//! A station that changes its train key: the old one serves the trains whose own entry names it.

use stationmaster::trust::{OwnerKind, Pin};

use crate::support::{
    Engine, PROGRAM, Seat, Station, Train, set,
    tamper::{RESULTS, refused, run_script},
};

#[test]
fn trains_under_way_are_opened_and_closed_with_the_key_that_they_name() {
    let mut station = Station::with("a").start_pinned();
    let state = station.state().to_str().unwrap().to_owned();
    station.stop();
    let mut generate = std::process::Command::new(PROGRAM);
    generate.args(["key", "generate", "a-new", "--purpose", "train", "--bits", "2048", "--state", &state]);
    assert!(generate.status().unwrap().success());
    station.configure(|config| {
        config.remove("trust");
        set(config, "keys", "train", vec![toml::Value::from("a-new"), toml::Value::from("a")]);
    });
    station.start_again();
    let engine = Engine::connect();
    let hex_pem = |label: &str| station.key(label).unwrap().public_key_hex_pem;
    for label in ["a", "a-new"] {
        let train = Train::of(&[Seat { id: "a".into(), hex_pem: hex_pem(label) }]).make();
        station.edit_trust(|store| drop(store.remove(OwnerKind::Creator, &train.creator().id, None)));
        station.trust_train(&train);
        let run = station.pre_run(&train.image).unwrap_or_else(|refusal| panic!("{label}: {refusal:?}"));
        run_script(&engine, &train.image, RESULTS);
        station.post_run(&run.run_id).unwrap();
        // The creator checks the signatures with the key that the route names.
        assert_eq!(train.open(&[]).stops_signed, 1, "{label}");
    }
    // Once the old one is out of the configuration, its trains are none of ours.
    let train = Train::of(&[Seat { id: "a".into(), hex_pem: hex_pem("a") }]).make();
    station.stop();
    station.configure(|config| {
        config.remove("trust");
        set(config, "keys", "train", vec![toml::Value::from("a-new")]);
    });
    station.start_again();
    refused("a retired key", station.pre_run(&train.image), "ROUTE_REJECTED");
}

#[test]
fn other_stations_are_trusted_with_both_keys_while_they_change() {
    let station = Station::with("a").start_pinned();
    let general = station.key("a-general").unwrap().public_key_hex_pem;
    let old = Seat { id: "b".into(), hex_pem: general };
    let new = Seat { id: "b".into(), hex_pem: station.hex_pem() };
    station.trust_stations(&[old.clone(), new.clone()]);
    for seat in [old, new] {
        let train = Train::of(&[station.seat(), seat]).make();
        station.edit_trust(|store| {
            store.remove(OwnerKind::Creator, &train.creator().id, None);
            let key = stationmaster_train::keys::PublicKey::from_hex_pem(&stationmaster_train::config::HexText::new(
                train.creator().hex_pem,
            ));
            store.add(OwnerKind::Creator, Pin::new(&train.creator().id, key.unwrap(), None).unwrap()).unwrap();
        });
        station.pre_run(&train.image).unwrap();
    }
}
