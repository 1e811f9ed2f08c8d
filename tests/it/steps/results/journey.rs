//! A route of three stops, train_lib's and ours: who may read what it brings, at ours and at home.

use std::fs;

use super::{alone, answer, written};
use crate::{
    access::principals::me,
    audit::evidence::records,
    steps::verify::delivered,
    support::{
        Engine, Peer, Station, Train,
        tamper::{Rootfs, fetched, flip_hex, refused, run_script, saved, stop},
    },
};

/// The principal of a development station's client certificate.
const OTHER: &str = "dns:client.stationmaster.internal";

/// What a train is told to run.
const ALGORITHM: &str = "/bin/sh /opt/pht_train/run.sh";

/// Grants this user one train's results, and another principal another's.
fn grant(station: &Station, train: &str) {
    let one = |principal: &str, train: &str| {
        format!("[[grant]]\nprincipal = {principal:?}\nrpcs = [\"OpenResults\"]\ntrains = [{train:?}]\n")
    };
    let text = "version = 1\n".to_owned() + &one(&me(), train) + &one(OTHER, "another-train");
    fs::write(station.state().join("access.toml"), text).unwrap();
}

#[test]
fn results_reach_the_granted_principals_and_the_creator_only() {
    let directory = tempfile::tempdir().unwrap();
    let (engine, ours) = (Engine::connect(), Station::start("ours"));
    let [first, last] = ["first", "last"].map(|id| Peer::newest().station(id, 2048, directory.path()));
    let seat =
        |station: &crate::support::LibStation| crate::support::Seat { id: station.id.clone(), hex_pem: station.hex_pem.clone() };
    let train = Train::of(&[seat(&first), ours.seat(), seat(&last)]).make();
    let image = train.image.as_str();
    let at = |name: &str| directory.path().join(name);
    let creator_key = train.creator_key();
    let open = |archive: &str, to: &str| {
        alone(&["train", "open", "--key", creator_key.to_str().unwrap(), archive, "-o", at(to).to_str().unwrap()])
    };
    let archive = |name: &str, bytes: Vec<u8>| {
        fs::write(at(name), bytes).unwrap();
        at(name).to_str().unwrap().to_owned()
    };

    first.pre_run(image).unwrap();
    run_script(&engine, image, ALGORITHM);
    first.post_run(image).unwrap();
    let (files, outcome) = ours.open_results(image, &[]).unwrap();
    assert_eq!(files, train.expected_results(1), "those of the stop before us, when it is our turn");
    assert_eq!((outcome.stop_index, outcome.stops_signed, outcome.stops), (1, 1, 3));

    let run = ours.pre_run(image).unwrap();
    run_script(&engine, image, ALGORITHM);
    let closed = ours.post_run(&run.run_id).unwrap();
    // Ours was the last to seal it.
    let home = archive("after-ours.tar", delivered(&engine, image).tar());
    let opened = answer(open(&home, "after-ours"), 0);
    assert_eq!(written(&at("after-ours")), train.expected_results(2));
    assert_eq!((&opened["code_verified"], &opened["stops_signed"]), (&false.into(), &2.into()));

    last.pre_run(image).unwrap();
    run_script(&engine, image, ALGORITHM);
    last.post_run(image).unwrap();
    let expected = train.expected_results(3);

    // --- at our station, which the train has passed ---
    let id = train.made["train_id"].as_str().unwrap();
    grant(&ours, id);
    let results = |to: &str, more: &[&str]| {
        ours.client_command(&[&["train", "results", image, "-o", at(to).to_str().unwrap()], more].concat())
    };
    let given = answer(results("given", &[]), 0);
    assert_eq!(written(&at("given")), expected);
    assert_eq!((&given["stops_signed"], &given["train_id"]), (&3.into(), &id.into()));
    assert_eq!(given["files"].as_array().unwrap().len(), expected.len());
    assert_ne!(given["results_digest"], const_hex::encode(&closed.results_digest));
    answer(results("given", &[]), 5);
    answer(results("some", &["--path", "a/b", "--path", "canary-?.txt"]), 0);
    let some: Vec<_> = written(&at("some")).into_keys().collect();
    assert_eq!(some, ["a/b/c.txt", "canary-0.txt", "canary-1.txt", "canary-2.txt"]);

    // Another principal, with a grant for another train.
    let tcp = ours.env()["STATIONMASTER_TCP"].clone();
    let mut elsewhere = results("refused", &[]);
    let refusal = answer(
        {
            elsewhere.env("STATIONMASTER_ADDRESS", tcp);
            elsewhere
        },
        7,
    );
    assert_eq!(refusal["error"]["reason"], "RPC_NOT_ALLOWED");
    let told = refusal.to_string();
    assert!(!told.contains(id) && !told.contains("canary") && !told.contains("stop"), "{told}");
    assert!(!at("refused").exists());

    // A train that was changed on its way.
    let mut uniform = Vec::new();
    for (what, change) in [
        ("results", &(|train: &mut Rootfs| train.content("opt/pht_results/log.txt")[20] ^= 1) as &dyn Fn(&mut Rootfs)),
        ("the chain", &|train| train.edit_config(|config| flip_hex(&mut stop(config, 0)["signature"]["signature"]))),
        ("our key", &|train| train.edit_config(|config| flip_hex(&mut stop(config, 1)["encrypted_key"]))),
    ] {
        let mut changed = Rootfs::read(&fetched(&engine, image, "/opt"));
        change(&mut changed);
        changed.put(&engine, &train.repository, "changed");
        let name = format!("{}:changed", train.repository);
        let refusal = refused(what, ours.open_results(&name, &[]), "TRAIN_AUTHENTICATION_FAILED");
        uniform.push((refusal.code, refusal.message, refusal.metadata.keys().cloned().collect::<Vec<_>>()));
    }
    assert!(uniform.iter().all(|one| *one == uniform[0]) && uniform[0].2 == ["refusal_id"], "{uniform:?}");
    let name = format!("{}:changed", train.repository);
    answer(ours.client_command(&["train", "results", &name, "-o", at("changed").to_str().unwrap()]), 4);
    assert!(!at("changed").exists());

    audited(&ours, id, expected.len(), &given);
    let runs = records(&ours, &["--event", "step"]);
    assert_eq!(runs.iter().filter(|record| !record["run"].is_null()).count(), 2, "a pre-run and a post-run, no more");

    at_home(&engine, &train, &open, &archive);
    assert_eq!(written(&at("from-engine")), expected);
    assert_eq!(written(&at("from-saved")), expected);
}

/// The audit says who got what, and who was refused.
fn audited(ours: &Station, id: &str, number: usize, given: &serde_json::Value) {
    let announced = records(ours, &["--event", "results-given"]);
    // All principals had the grant at first: those of our turn, all of them, some.
    let [_, all, some] = &announced[..] else { panic!("{announced:?}") };
    for record in [all, some] {
        assert_eq!((&record["principal"], &record["rpc"]), (&me().into(), &"OpenResults".into()));
        assert_eq!((&record["train"]["id"], &record["train"]["stop"]), (&id.into(), &1.into()));
        assert_eq!(record["digests"]["results_in"], given["results_digest"]);
        let call = record["call"].as_str().unwrap();
        let of_call = records(ours, &["--call", call]);
        let events: Vec<_> = of_call.iter().map(|record| record["event"].as_str().unwrap()).collect();
        assert_eq!(events, ["key-use", "key-used", "results-given", "step"]);
        assert_eq!((&of_call[0]["train"], &of_call[0]["key"]["label"]), (&record["train"], &"ours".into()));
        assert_eq!((&of_call[3]["about"], &of_call[3]["outcome"]), (&record["about"], &"ok".into()));
    }
    assert_eq!((&all["about"]["files"], &all["about"]["bytes"]), (&number.into(), &given["bytes"]));
    assert_eq!((&some["about"]["files"], &some["about"]["paths"]), (&4.into(), &serde_json::json!(["a/b", "canary-?.txt"])));

    let refusals = records(ours, &["--event", "refusal", "--principal", OTHER]);
    let [refused] = &refusals[..] else { panic!("{refusals:?}") };
    assert_eq!((&refused["outcome"], &refused["train"]["id"]), (&"RPC_NOT_ALLOWED".into(), &id.into()));
    assert!(records(ours, &["--event", "key-use", "--principal", OTHER]).is_empty());
    let refusals = records(ours, &["--event", "refusal", "--principal", &me()]);
    assert!(
        refusals.iter().all(|record| record["outcome"] == "TRAIN_AUTHENTICATION_FAILED") && refusals.len() == 4,
        "{refusals:?}"
    );
}

/// The creator opens the finished train, and nothing that was changed.
fn at_home(
    engine: &Engine,
    train: &Train,
    open: &dyn Fn(&str, &str) -> std::process::Command,
    archive: &dyn Fn(&str, Vec<u8>) -> String,
) {
    let opt = Rootfs::read(&fetched(engine, &train.image, "/opt"));
    let mut from_engine = open(&train.image, "from-engine");
    from_engine.args(Engine::host().iter().flat_map(|host| ["--engine", host.trim_start_matches("unix://")]));
    let opened = answer(from_engine, 0);
    assert_eq!((&opened["code_verified"], &opened["stops_signed"]), (&true.into(), &3.into()));
    answer(open(&archive("saved.tar", saved(&train.image)), "from-saved"), 0);

    let refuse = |what: &str, exit: i32, change: &dyn Fn(&mut Rootfs)| {
        let mut changed = opt.clone();
        change(&mut changed);
        let file = archive("changed.tar", changed.tar());
        let answer = answer(open(&file, "changed"), exit);
        assert!(!std::path::Path::new(&file).with_file_name("changed").exists(), "{what}");
        answer
    };
    let error = refuse("a result", 4, &|train| train.content("opt/pht_results/log.txt")[20] ^= 1);
    assert_eq!(error["error"]["reason"], "TRAIN_AUTHENTICATION_FAILED");
    refuse("the code", 4, &|train| train.content("opt/pht_train/data.bin")[20] ^= 1);
    refuse("a result too few", 4, &|train| train.remove("opt/pht_results/a!"));
    let broken = refuse("a signature", 8, &|train| {
        train.edit_config(|config| flip_hex(&mut config["result_signature"]));
    });
    assert_eq!(broken["holds"], false);
    refuse("a name that is a path elsewhere", 8, &|train| train.add_file("opt/pht_results/..\\x", b"x"));
}
