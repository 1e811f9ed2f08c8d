//! Each rule that can be switched: what it refuses while it is on, and what a report says when it is not.

use stationmaster::trust::OwnerKind;
use stationmaster_proto::{PreRunOutcome, RuleOutcome};
use tar::EntryType;

use super::outcome;
use crate::support::{
    Engine, LibStation, Mode, Peer, Refusal, Seat, Station, Train, set,
    tamper::{Before, RESULTS, Rootfs, Scene, commit_with, refused, run_script, stop},
};

fn rule(section: &str, rule: &str) -> impl Fn(&mut toml::Table) {
    let (section, rule) = (section.to_owned(), rule.to_owned());
    move |config| set(config, "rules", &section, vec![toml::Value::from(rule.as_str())])
}

/// A pinned station whose configuration is as `change` leaves it, and a train for it that it trusts.
fn scene(change: impl FnOnce(&mut toml::Table)) -> Scene {
    let scene = Scene::with(Station::with("a").start_pinned_and(change));
    scene.station.trust_train(&scene.train);
    scene
}

#[track_caller]
fn breaks(refusal: &Refusal, rule: &str) {
    assert_eq!(refusal.metadata["rule"], rule, "{refusal:?}");
}

/// The answer says that the rule was not held against the train.
#[track_caller]
fn says_relaxed(run: &PreRunOutcome, rule: &str) {
    assert_eq!(outcome(&run.rules, rule), RuleOutcome::Relaxed);
    assert!(run.warnings.iter().any(|warning| warning.contains(rule)), "{:?}", run.warnings);
}

/// What arrives in the train's place is opened.
#[track_caller]
fn opens(scene: &Scene, arrived: &Rootfs) -> PreRunOutcome {
    arrived.put(&scene.engine, &scene.train.repository, "latest");
    scene.pre_run().unwrap_or_else(|refusal| panic!("{refusal:?}"))
}

#[test]
fn files_that_are_not_listed_are_left_out_refused_or_taken_as_the_configuration_says() {
    let unlisted = |scene: &Scene| {
        let mut train = scene.rootfs();
        let sealed = train.content("opt/pht_train/data.bin").clone();
        train.add_file("opt/pht_train/sitecustomize.py", &sealed);
        train
    };
    let in_image = |scene: &Scene| scene.rootfs().below("opt/pht_train").contains("sitecustomize.py");

    let dropping = Scene::pinned();
    let run = opens(&dropping, &unlisted(&dropping));
    assert_eq!((run.dropped_files, in_image(&dropping)), (vec!["sitecustomize.py".to_owned()], false));

    let refusing = scene(|config| set(config, "rules", "unlisted", "refuse"));
    breaks(&refusing.refuses("unlisted", &unlisted(&refusing), "IMAGE_POLICY_VIOLATION"), "unlisted-files");
    let run = refusing.pre_run().unwrap();
    // What an honest run leaves is left out nevertheless.
    run_script(&refusing.engine, &refusing.train.image, &format!("{RESULTS}; echo x > /opt/pht_train/left.pyc"));
    assert_eq!(refusing.station.post_run(&run.run_id).unwrap().dropped_files, ["pht_train/left.pyc"]);

    let relaxed = scene(rule("relax", "unlisted-files"));
    let run = opens(&relaxed, &unlisted(&relaxed));
    assert!(in_image(&relaxed) && run.dropped_files.is_empty(), "{run:?}");
    says_relaxed(&run, "unlisted-files");
    let closed = relaxed.station.post_run_without_results(&run.run_id).unwrap();
    assert_eq!((outcome(&closed.rules, "unlisted-files"), in_image(&relaxed)), (RuleOutcome::Relaxed, true));
}

#[test]
fn hash_image_refuses_a_sealed_train_with_unlisted_files_where_pre_run_does() {
    for (setting, is_refused) in [("refuse", true), ("drop", false)] {
        let scene = scene(|config| set(config, "rules", "unlisted", setting));
        let mut arrived = scene.rootfs();
        let sealed = arrived.content("opt/pht_train/data.bin").clone();
        arrived.add_file("opt/pht_train/sitecustomize.py", &sealed);
        arrived.put(&scene.engine, &scene.train.repository, "latest");
        let hashed = scene.station.hash(&scene.train.image, true);
        if is_refused {
            breaks(&refused(setting, hashed, "IMAGE_POLICY_VIOLATION"), "unlisted-files");
        } else {
            hashed.unwrap_or_else(|refusal| panic!("{setting}: {refusal:?}"));
        }
    }
}

#[test]
fn a_session_id_of_another_length_is_refused_unless_the_rule_is_relaxed() {
    let scene = scene(|_| {});
    let train = Train::of(&[scene.station.seat()]).session_bytes(32).make();
    scene.station.edit_trust(|store| drop(store.remove(OwnerKind::Creator, &train.creator().id, None)));
    scene.station.trust_train(&train);
    let before = Before::of(&scene.engine, &train);
    breaks(&refused("32 bytes", scene.station.pre_run(&train.image), "IMAGE_POLICY_VIOLATION"), "session-id-length");
    before.assert(&scene.station, "32 bytes");

    let relaxed = Station::with("a").start_pinned_and(rule("relax", "session-id-length"));
    let train = Train::of(&[relaxed.seat()]).session_bytes(32).make();
    relaxed.trust_train(&train);
    says_relaxed(&relaxed.pre_run(&train.image).unwrap(), "session-id-length");
}

#[test]
fn what_stands_below_opt_beside_the_train_is_refused_unless_it_is_the_bases_or_allowed() {
    let with_tool = |image: &Rootfs| {
        let mut image = image.clone();
        image.add("opt/tool", EntryType::Directory, "");
        image.add_file("opt/tool/evil.so", b"preloaded");
        image
    };
    let strict = scene(|_| {});
    let arrived = with_tool(&strict.rootfs());
    breaks(&strict.refuses("a tool", &arrived, "IMAGE_POLICY_VIOLATION"), "opt-allow-list");
    let mut file = strict.rootfs();
    file.add_file("opt/pht_train_evil", b"x");
    breaks(&strict.refuses("a name that begins like ours", &file, "IMAGE_POLICY_VIOLATION"), "opt-allow-list");
    // The base has it, too: it is the image's, not the train's.
    with_tool(&Rootfs::of(&strict.engine, &strict.train.base)).put(&strict.engine, &strict.train.repository, "base");
    assert_eq!(outcome(&opens(&strict, &arrived).rules, "opt-allow-list"), RuleOutcome::Checked);

    let allowed = scene(|config| set(config, "rules", "opt_allow", vec![toml::Value::from("tool")]));
    opens(&allowed, &with_tool(&allowed.rootfs()));
    let relaxed = scene(rule("relax", "opt-allow-list"));
    says_relaxed(&opens(&relaxed, &with_tool(&relaxed.rootfs())), "opt-allow-list");
}

#[test]
fn a_results_signature_that_was_slipped_into_the_chain_is_refused_unless_the_rule_is_relaxed() {
    let directory = tempfile::tempdir().unwrap();
    let lib = |id: &str| -> LibStation { Peer::newest().station(id, 2048, directory.path()) };
    let (first, second, engine) = (lib("a"), lib("b"), Engine::connect());
    for relaxed in [false, true] {
        let station = Station::with("c").start_pinned_and(|config| {
            if relaxed {
                rule("relax", "signatures-apart")(config);
            }
        });
        let seat = |station: &LibStation| Seat { id: station.id.clone(), hex_pem: station.hex_pem.clone() };
        let train = Train::of(&[seat(&first), seat(&second), station.seat()]).make();
        station.trust_train(&train);
        first.pre_run(&train.image).unwrap();
        Peer::newest().run_train(&train.image, Mode::Commit, &[]);
        first.post_run(&train.image).unwrap();
        let mut spliced = Rootfs::of(&engine, &train.image);
        spliced.edit_config(|config| {
            let link = serde_json::json!({ "digest": config["result_hash"], "signature": config["result_signature"] });
            stop(config, 0)["signature"] = link;
        });
        spliced.put(&engine, &train.repository, "spliced");
        // train_lib makes containers without a command.
        commit_with(&engine, &format!("{}:spliced", train.repository), "CMD [\"/bin/sh\"]", &train.repository, "latest");
        // train_lib takes it; its run leaves the results as they were, so even the newest link can be recomputed.
        second.pre_run(&train.image).expect("train_lib takes it");
        second.post_run(&train.image).expect("train_lib takes it");
        if relaxed {
            says_relaxed(&station.pre_run(&train.image).unwrap(), "signatures-apart");
        } else {
            let before = Before::of(&engine, &train);
            refused("spliced", station.pre_run(&train.image), "TRAIN_AUTHENTICATION_FAILED");
            before.assert(&station, "spliced");
        }
    }
}

#[test]
fn stations_that_the_train_has_passed_get_no_key_where_that_is_demanded() {
    let directory = tempfile::tempdir().unwrap();
    let lib = |id: &str| -> LibStation { Peer::newest().station(id, 2048, directory.path()) };
    let (first, last, engine) = (lib("a"), lib("c"), Engine::connect());
    let station = Station::with("b").start_pinned_and(rule("demand", "past-stops-excluded"));
    let seat = |station: &LibStation| Seat { id: station.id.clone(), hex_pem: station.hex_pem.clone() };
    let train = Train::of(&[seat(&first), station.seat(), seat(&last)]).make();
    station.trust_train(&train);
    first.pre_run(&train.image).unwrap();
    Peer::newest().run_train(&train.image, Mode::Commit, &[]);
    first.post_run(&train.image).unwrap();
    let run = station.pre_run(&train.image).unwrap();
    Peer::newest().run_train(&train.image, Mode::Commit, &[]);
    let closed = station.post_run(&run.run_id).unwrap();
    assert_eq!(outcome(&closed.rules, "past-stops-excluded"), RuleOutcome::Checked);
    let mut config = Rootfs::of(&engine, &train.image).config();
    let given: Vec<bool> = (0..3).map(|index| stop(&mut config, index)["encrypted_key"].is_string()).collect();
    assert_eq!(given, [false, true, true]);
    last.pre_run(&train.image).expect("the next stop, with train_lib, goes on");
    Peer::newest().run_train(&train.image, Mode::Commit, &[]);
    last.post_run(&train.image).unwrap();
}

#[test]
fn the_keys_of_a_train_can_be_let_pass_by_name() {
    let relax = ["creator-pinned", "stations-pinned", "wrap-for-trusted"];
    let station = Station::with("a").start_pinned_and(|config| {
        set(config, "rules", "relax", relax.map(toml::Value::from).to_vec());
    });
    let train = Train::of(&[station.seat()]).make();
    let run = station.pre_run(&train.image).unwrap();
    let closed = station.post_run_without_results(&run.run_id).unwrap();
    for rule in relax {
        says_relaxed(&run, rule);
        assert_eq!(outcome(&closed.rules, rule), RuleOutcome::Relaxed);
    }
    drop(station);
    // One of them alone does not give an unknown key the envelope key.
    let station = Station::with("a").start_pinned_and(rule("relax", "creator-pinned"));
    let train = Train::of(&[station.seat()]).make();
    breaks(&refused("no key for unknown keys", station.pre_run(&train.image), "KEY_UNTRUSTED"), "wrap-for-trusted");
}

#[test]
fn a_base_that_an_opened_train_is_in_is_refused() {
    let scene = scene(|_| {});
    let sealed = scene.engine.find(&scene.train.image).unwrap();
    let base = scene.engine.find(&scene.train.base).unwrap();
    let run = scene.pre_run().unwrap();
    let opened = Rootfs::of(&scene.engine, &scene.train.image);
    // By its history: what a run made of an opened train is taken for the base.
    run_script(&scene.engine, &scene.train.image, RESULTS);
    let ran = scene.engine.find(&scene.train.image).unwrap();
    scene.engine.tag(&ran, &scene.train.repository, "kept");
    scene.station.abort(&run.run_id).unwrap();
    scene.engine.tag(&ran, &scene.train.repository, "base");
    scene.engine.tag(&sealed, &scene.train.repository, "latest");
    let before = Before::of(&scene.engine, &scene.train);
    breaks(&refused("by its history", scene.pre_run(), "IMAGE_POLICY_VIOLATION"), "no-plaintext-layers");
    before.assert(&scene.station, "by its history");
    // By its content: an image without a history that holds the code as it is.
    opened.put(&scene.engine, &scene.train.repository, "base");
    let before = Before::of(&scene.engine, &scene.train);
    breaks(&refused("by its content", scene.pre_run(), "IMAGE_POLICY_VIOLATION"), "no-plaintext-layers");
    before.assert(&scene.station, "by its content");
    scene.engine.tag(&base, &scene.train.repository, "base");
    scene.still_works();
}

#[test]
fn a_repeated_answer_has_the_same_outcome_of_every_rule() {
    let scene = Scene::pinned();
    let run = scene.pre_run().unwrap();
    let again = scene.pre_run().unwrap();
    assert!(again.repeated_answer && again.rules == run.rules && !run.rules.is_empty());
    assert!(
        run.rules
            .iter()
            .any(|rule| rule.rule == "builder-identity" && rule.outcome() == RuleOutcome::NotCheckable && !rule.note.is_empty())
    );
    let closed = scene.station.post_run_without_results(&run.run_id).unwrap();
    let again = scene.station.post_run(&run.run_id).unwrap();
    assert!(again.repeated_answer && again.rules == closed.rules && !closed.rules.is_empty());
}
