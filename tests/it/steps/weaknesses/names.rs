//! What this wire cannot show (10, 15, 19): such trains are opened here too, and the report says what was not checkable.

use stationmaster_proto::RuleOutcome;

use super::{Lib, arrives, train_lib_opens, train_lib_takes_at_second_stop, under_way};
use crate::{
    support::{
        Engine, Station, Train,
        tamper::{Rootfs, Scene, stop},
    },
    trust::outcome,
};

const DATA: &str = "opt/pht_train/data.bin";
const RUN: &str = "opt/pht_train/run.sh";

/// Two files swap their names, in the image and on the list: what is hashed stays the same.
fn swapped(train: &mut Rootfs) {
    let (run, data) = (train.content(RUN).clone(), train.content(DATA).clone());
    (*train.content(RUN), *train.content(DATA)) = (data, run);
    train.edit_config(|config| {
        for name in config["file_list"].as_array_mut().expect("a list") {
            let swapped = match name.as_str().expect("a name") {
                "./run.sh" => "./data.bin",
                "./data.bin" => "./run.sh",
                other => other,
            };
            *name = swapped.to_owned().into();
        }
    });
}

#[test]
fn names_of_code_are_not_signed_and_the_report_says_so() {
    let is_swapped = |mut opened: Rootfs| assert!(opened.content(DATA).starts_with(b"#!/bin/sh"));
    train_lib_opens(&swapped, is_swapped);
    let ours = Scene::pinned();
    let mut arrived = ours.rootfs();
    swapped(&mut arrived);
    arrived.put(&ours.engine, &ours.train.repository, "latest");
    let run = ours.pre_run().unwrap();
    is_swapped(ours.rootfs());
    for rule in ["file-names-signed", "file-boundaries", "builder-identity", "unsigned-fields", "authenticated-encryption"] {
        assert_eq!(outcome(&run.rules, rule), RuleOutcome::NotCheckable, "{rule}");
    }
}

#[test]
fn names_of_results_are_not_signed_and_the_report_says_so() {
    let renamed = |train: &mut Rootfs| train.entry("opt/pht_results/d/a").path = "opt/pht_results/d/b".into();
    train_lib_takes_at_second_stop(&renamed);
    let (first, ours) = (Lib::new("2.0.6a0", "a"), Station::with("b").start_pinned());
    let train = under_way(&first, ours.seat());
    ours.trust_train(&train);
    arrives(&train, &renamed);
    let run = ours.pre_run(&train.image).unwrap();
    assert!(Rootfs::of(&Engine::connect(), &train.image).below("opt/pht_results").contains("d/b"));
    assert_eq!(outcome(&run.rules, "file-names-signed"), RuleOutcome::NotCheckable);
}

#[test]
fn a_link_older_than_the_newest_is_not_recomputed_and_the_report_says_so() {
    let [first, second] = ["a", "b"].map(|id| Lib::new("2.0.6a0", id));
    let ours = Station::with("c").start_pinned();
    let [train, other] = [(); 2].map(|()| {
        let train = Train::of(&[first.seat(), second.seat(), ours.seat()]).make();
        first.passes(&train);
        train
    });
    ours.trust_train(&train);
    let other = Rootfs::of(&Engine::connect(), &other.image).config();
    arrives(&train, &|train| {
        train.edit_config(|config| stop(config, 0)["signature"] = stop(&mut other.clone(), 0)["signature"].clone());
    });
    second.passes(&train);
    let run = ours.pre_run(&train.image).unwrap();
    assert_eq!(outcome(&run.rules, "newest-link"), RuleOutcome::Checked);
    assert_eq!(outcome(&run.rules, "older-links"), RuleOutcome::NotCheckable);
}
