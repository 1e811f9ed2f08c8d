//! The trust file of a running service: without it no train is opened, and it is read again when it changes.

use std::fs;

use stationmaster_proto as pb;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::support::{
    Engine, Station, Train, block_on, set,
    tamper::{Before, refused},
    wait_for,
};

fn health(station: &Station, service: &str) -> Result<ServingStatus, tonic::Status> {
    let request = HealthCheckRequest { service: service.into() };
    block_on(HealthClient::new(station.unix()).check(request)).map(|answer| answer.into_inner().status())
}

#[test]
fn without_a_trust_file_no_train_is_opened_and_it_need_not_be_started_again() {
    let mut station = Station::start("a");
    let train = Train::of(&[station.seat()]).make();
    let engine = Engine::connect();
    station.stop();
    station.configure(|config| drop(config.remove("trust")));
    station.spawn();
    wait_for("the keys", || {
        let serves = |name| health(&station, name).is_ok_and(|status| status == ServingStatus::Serving);
        (serves("stationmaster.v1.KeyService") && serves("stationmaster.v1.ImageService")).then_some(())
    });
    for service in ["", "stationmaster.v1.TrainService"] {
        assert_eq!(health(&station, service).unwrap(), ServingStatus::NotServing, "{service:?}");
    }
    let before = Before::of(&engine, &train);
    let refusal = refused("no trust file", station.pre_run(&train.image), "NOT_READY");
    assert!(refusal.message.contains("stationmaster trust add") && !refusal.message.contains('/'), "{}", refusal.message);
    before.assert(&station, "no trust file");
    let file = station.trust_file().display().to_string();
    assert!(station.log().lines().any(|line| line.contains(&file) && line.contains("trust add")), "{}", station.log());
    station.sign("a-general", pb::SignatureScheme::RsaPssSha256, &[1; 32]).expect("keys need no trust file");

    // What cannot be used is no trust file either.
    fs::write(station.trust_file(), "version = 1\nnonsense").unwrap();
    refused("no TOML", station.pre_run(&train.image), "NOT_READY");
    fs::remove_file(station.trust_file()).unwrap();
    station.trust_train(&train);
    station.pre_run(&train.image).expect("the administrator has written the file");
    wait_for("SERVING", || (health(&station, "").ok()? == ServingStatus::Serving).then_some(()));
}

#[test]
fn a_change_counts_from_the_next_call_and_a_broken_file_leaves_what_was_there() {
    let station = Station::with("a").start_pinned();
    let train = Train::of(&[station.seat()]).make();
    refused("no key is trusted", station.pre_run(&train.image), "KEY_UNTRUSTED");
    station.trust_train(&train);
    let run = station.pre_run(&train.image).expect("believed from this call on");
    station.abort(&run.run_id).unwrap();
    fs::write(station.trust_file(), "version = 1\nnonsense").unwrap();
    let run = station.pre_run(&train.image).expect("a broken file changes nothing");
    station.abort(&run.run_id).unwrap();
    assert!(station.log().contains("its previous contents stay"), "{}", station.log());
    fs::remove_file(station.trust_file()).unwrap();
    station.edit_trust(|_| {});
    refused("no key is trusted again", station.pre_run(&train.image), "KEY_UNTRUSTED");
}

#[test]
fn a_station_that_trusts_the_keys_in_trains_warns_at_its_start_and_in_every_response() {
    let mut station = Station::start("a");
    let said = |station: &Station| station.log().matches(stationmaster::protocol::EMBEDDED).count();
    assert_eq!(said(&station), 1);
    station.stop();
    station.configure(|config| set(config, "trust", "mode", "embedded"));
    station.start_again();
    assert_eq!(said(&station), 2);
    let train = Train::of(&[station.seat()]).make();
    let run = station.pre_run(&train.image).unwrap();
    let closed = station.post_run_without_results(&run.run_id).unwrap();
    for (rules, warnings) in [(&run.rules, &run.warnings), (&closed.rules, &closed.warnings)] {
        assert!(warnings.iter().any(|warning| warning == stationmaster::protocol::EMBEDDED), "{warnings:?}");
        for rule in ["creator-pinned", "stations-pinned", "wrap-for-trusted"] {
            assert_eq!(super::outcome(rules, rule), pb::RuleOutcome::Relaxed, "{rule}");
        }
        // It relaxes nothing else.
        let relaxed = rules.iter().filter(|rule| rule.outcome() == pb::RuleOutcome::Relaxed);
        assert!(
            relaxed.map(|rule| rule.rule.as_str()).all(
                |rule| rule.contains("pinned") || ["wrap-for-trusted", "past-stops-excluded", "master-image"].contains(&rule)
            )
        );
    }
}
