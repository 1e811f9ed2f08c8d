//! `stationmaster run`: the runs of a station, and an administrator's two decisions about them, while the service runs.

use super::{fails, json, office};
use crate::{
    cli::output,
    support::{
        Engine, Station, Train,
        mounts::{Beside, EVERYWHERE, run_opened},
        proxied::Proxied,
        proxy::{Do, LOAD, Way},
        tamper::{Before, RESULTS, Scene, commit_with, refused, run_script},
        wait_for,
    },
};

#[test]
fn runs_are_listed_and_shown_with_all_that_the_ledger_knows_and_no_secret() {
    let scene = Scene::pinned();
    let done = scene.pre_run().unwrap();
    run_script(&scene.engine, &scene.train.image, RESULTS);
    let closed = scene.station.post_run(&done.run_id).unwrap();
    let other = Train::of(&[scene.station.seat()]).make();
    scene.station.edit_trust(|store| *store = Default::default());
    scene.station.trust_train(&other);
    let open = scene.station.pre_run(&other.image).unwrap();

    let listed = |more: &[&str]| {
        let answer = json(&scene.station, &[&["run", "list"][..], more].concat());
        let runs = answer["runs"].as_array().unwrap().iter();
        runs.map(|run| run["run_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (done_id, open_id) = (done.run_id.as_str(), open.run_id.as_str());
    assert_eq!(listed(&[]), [open_id, done_id]);
    assert_eq!(listed(&["--limit", "1"]), [open_id]);
    assert_eq!(listed(&["--open"]), [open_id]);
    assert_eq!(listed(&["--only", "completed"]), [done_id]);
    assert_eq!(listed(&["--session", &const_hex::encode(&done.session_id[..4])]), [done_id]);
    assert_eq!(listed(&["--train", other.made["train_id"].as_str().unwrap()]).len(), 1);
    assert!(listed(&["--train", "absent"]).is_empty());
    let table = output(&mut office(&scene.station, &["run", "list"]));
    assert!(table.starts_with("RUN") && table.contains(done_id) && table.contains("prepared"), "{table}");

    let shown = json(&scene.station, &["run", "show", done_id]);
    assert_eq!(shown["state"], "completed");
    assert_eq!(shown["post_run"]["results_digest"], const_hex::encode(&closed.results_digest));
    assert_eq!(shown["pre_run"]["immutable_digest"], const_hex::encode(&done.immutable_digest));
    assert_eq!(shown["sealed_image_id"], closed.image_id);
    let rules = shown["pre_run"]["rules"].as_array().unwrap();
    assert!(rules.iter().any(|rule| rule["rule"] == "creator-signature" && rule["outcome"] == "checked"), "{rules:?}");
    let people = output(&mut office(&scene.station, &["run", "show", done_id]));
    for text in [shown.to_string(), people] {
        for canary in scene.train.canaries() {
            assert!(!text.contains(std::str::from_utf8(canary).unwrap()), "{text}");
        }
        assert!(!text.contains(&scene.station.pin()) && !text.contains("encrypted_key") && !text.contains("rsa_public_key"));
    }
    fails(&scene.station, &["run", "show", "absent"], 3, "no run \"absent\"");
}

#[test]
fn a_run_that_is_given_up_is_ended_by_the_service_that_runs_wherever_it_was_opened() {
    let scene = Scene::pinned();
    let before = Before::of(&scene.engine, &scene.train);
    for into in EVERYWHERE {
        let run = scene.station.open_into(&scene.train.image, into).unwrap();
        run_opened(&scene.engine, &run, Some(RESULTS), &[]);
        let given_up = json(&scene.station, &["run", "abandon", &run.run_id, "--reason", "container lost", "--wait", "120"]);
        assert_eq!((&given_up["state"], &given_up["finished"]), (&"aborted".into(), &true.into()), "{into:?}");
        assert_eq!(given_up["plaintext_held_by"], serde_json::json!([]));
        before.assert(&scene.station, "a run that was given up");
        let refusal = refused("post-run", scene.station.post_run(&run.run_id), "RUN_STATE");
        assert_eq!(refusal.metadata["state"], "aborted");
        let shown = json(&scene.station, &["run", "show", &run.run_id]);
        assert_eq!(shown["reason"], "container lost");
        assert!(shown["abandoned_by"].as_str().unwrap().starts_with("unix:uid="));
    }
    scene.still_works();
}

#[test]
fn a_run_that_is_given_up_while_no_service_runs_is_ended_by_the_next_start() {
    let mut scene = Scene::pinned();
    let before = Before::of(&scene.engine, &scene.train);
    let run = scene.pre_run().unwrap();
    run_script(&scene.engine, &scene.train.image, RESULTS);
    scene.station.stop();
    let given_up = ["run", "abandon", &run.run_id, "--reason", "host lost", "--wait", "0"];
    let answer = json(&scene.station, &given_up);
    assert_eq!((&answer["state"], &answer["finished"]), (&"aborting".into(), &false.into()));
    assert!(output(&mut office(&scene.station, &given_up)).contains("its plaintext exists"), "the second time it is said too");
    scene.station.start_again();
    before.assert(&scene.station, "the start after it was given up");
    assert!(Beside::of(&scene.station).is_empty());
    assert_eq!(json(&scene.station, &["run", "show", &run.run_id])["reason"], "host lost");
    scene.still_works();
}

#[test]
fn a_run_whose_sealed_image_was_removed_is_given_up_nevertheless() {
    let (engine, first, mut second) = (Engine::connect(), Station::start("a"), Station::start("b"));
    let train = Train::of(&[first.seat(), second.seat()]).make();
    let run = first.pre_run(&train.image).unwrap();
    run_script(&engine, &train.image, RESULTS);
    first.post_run(&run.run_id).unwrap();

    let run = second.pre_run(&train.image).unwrap();
    engine.untag(&format!("stationmaster-sealed:{}", run.run_id));
    assert!(!engine.image_ids(&train.repository).contains(&run.source_image_id), "the sealed image is still there");
    let answer = json(&second, &["run", "abandon", &run.run_id, "--reason", "pruned", "--wait", "120"]);
    assert_eq!((&answer["finished"], &answer["plaintext_held_by"]), (&true.into(), &serde_json::json!([])));
    assert_eq!(engine.find(&train.image), None, "the name stands for plaintext");
    assert!(!engine.image_ids(&train.repository).contains(&run.image_id));
    second.stop();
    second.start_again();
}

#[test]
fn what_still_holds_plaintext_of_a_run_that_was_given_up_is_reported() {
    let scene = Scene::pinned();
    let run = scene.pre_run().unwrap();
    let held = scene.engine.hold(&run.image_id, &[]);
    let answer = json(&scene.station, &["run", "abandon", &run.run_id, "--reason", "stuck", "--wait", "120"]);
    assert!(answer["plaintext_held_by"].as_array().unwrap().contains(&held.id.as_str().into()), "{answer}");
}

#[test]
fn an_administrators_decision_that_cannot_apply_is_refused_with_a_hint() {
    let (engine, station) = (Engine::connect(), Station::start("a"));
    let train = Train::of(&[station.seat()]).make();
    let run = station.pre_run(&train.image).unwrap().run_id;
    let unknown = uuid::Uuid::now_v7().to_string();
    for decision in ["abandon", "allow-again"] {
        fails(&station, &["run", decision, &unknown, "--reason", "why"], 3, "run list");
        fails(&station, &["run", decision, &run], 2, "--reason");
        for (reason, hint) in [("", "a reason is needed"), ("two\nlines", "control characters"), (&"a".repeat(501), "500")] {
            fails(&station, &["run", decision, &run, "--reason", reason], 2, hint);
        }
    }
    fails(&station, &["run", "allow-again", &run, "--reason", "why"], 5, "run abandon");
    assert_eq!(json(&station, &["run", "show", &run])["state"], "prepared");
    run_script(&engine, &train.image, RESULTS);
    station.post_run(&run).unwrap();
    fails(&station, &["run", "abandon", &run, "--reason", "why"], 5, "run allow-again");
    json(&station, &["run", "allow-again", &run, "--reason", "why"]);
    fails(&station, &["run", "allow-again", &run, "--reason", "why"], 5, "run list");
    fails(&station, &["run", "list", "--only", "finished"], 2, "completed");
    fails(&station, &["run", "list", "--session", "xyz"], 2, "hex");
    let nowhere = tempfile::tempdir().unwrap();
    let mut lost = std::process::Command::new(crate::support::PROGRAM);
    let done = lost.env_remove("STATIONMASTER_CONFIG").args(["run", "list", "--state"]).arg(nowhere.path()).output().unwrap();
    assert_eq!(done.status.code(), Some(3), "{done:?}");
    assert_eq!(std::fs::read_dir(nowhere.path()).unwrap().count(), 0, "a ledger was made");
}

#[test]
fn a_pre_run_that_fails_while_its_image_is_in_use_ends_and_reports_what_it_left() {
    let proxied = Proxied::start();
    let scene = &proxied.scene;
    let (engine, repository) = (&scene.engine, &scene.train.repository);
    let before = Before::of(engine, &scene.train);
    let sealed = before.snapshot.id(&scene.train.image).to_owned();
    commit_with(engine, &scene.train.image, "ENV OTHER=train", repository, "other");
    let known = engine.image_ids(repository);
    proxied.proxy.when(LOAD, Way::FromEngine, 1, Do::Stall);
    // The image is made; before the step goes on, a container of it is made, and the name is given to another train.
    let holder = std::thread::scope(|scope| {
        let call = scope.spawn(|| scene.pre_run());
        proxied.proxy.struck();
        let opened = wait_for("the opened image", || engine.image_ids(repository).difference(&known).next().cloned());
        let holder = engine.hold(&opened, &[]);
        engine.tag(&engine.find(&format!("{repository}:other")).unwrap(), repository, "latest");
        proxied.proxy.release();
        refused("the name was moved", call.join().expect("no panic"), "IMAGE_CHANGED");
        holder
    });
    let names: Vec<_> = engine.snapshot(repository).tags.into_keys().collect();
    assert!(names.iter().all(|name| name.starts_with(repository)), "private names are left: {names:?}");
    let failed = json(&scene.station, &["run", "list", "--only", "failed"]);
    let run = json(&scene.station, &["run", "show", failed["runs"][0]["run_id"].as_str().unwrap()]);
    assert!(run["plaintext_held_by"].as_array().unwrap().contains(&holder.id.as_str().into()), "{run}");
    engine.tag(&sealed, repository, "latest");
    scene.still_works();
}

#[test]
fn pruning_is_recorded_and_a_pruned_run_still_keeps_its_train_from_running_again() {
    let scene = Scene::set();
    let sealed = scene.engine.find(&scene.train.image).unwrap();
    let aborted = scene.pre_run().unwrap().run_id;
    scene.station.abort(&aborted).unwrap();
    let run = scene.pre_run().unwrap().run_id;
    run_script(&scene.engine, &scene.train.image, RESULTS);
    scene.station.post_run(&run).unwrap();
    let shown = json(&scene.station, &["run", "show", &run]);
    assert_eq!(shown["config_sha256"].as_str().unwrap().len(), 64);

    let prune = |more: &[&str]| json(&scene.station, &[&["run", "prune", "--reason", "retention"][..], more].concat());
    assert_eq!(prune(&["--older-than", "1"])["removed"], 0, "nothing is so old");
    crate::state::sql(&scene.station, "UPDATE runs SET updated_at = updated_at - 3 * 86400");
    let would = prune(&["--older-than", "2", "--dry-run"]);
    assert_eq!((&would["removed"], &would["shortened"], &would["dry_run"]), (&1.into(), &1.into(), &true.into()));
    let done = prune(&["--older-than", "2"]);
    assert_eq!((&done["removed"], &done["shortened"]), (&1.into(), &1.into()));
    fails(&scene.station, &["run", "show", &aborted], 3, "run list");
    assert_eq!(json(&scene.station, &["run", "show", &run])["post_run"], serde_json::Value::Null);
    let told = crate::audit::evidence::records(&scene.station, &["--log", "officer", "--event", "runs-pruned"]);
    let outcomes: Vec<_> = told.iter().map(|record| (&record["about"]["removed"], &record["outcome"])).collect();
    assert_eq!(outcomes, [(&1.into(), &serde_json::Value::Null), (&1.into(), &"ok".into())]);

    scene.engine.tag(&sealed, &scene.train.repository, "latest");
    assert_eq!(refused("what ran", scene.pre_run(), "TRAIN_REPLAYED").metadata["run_id"], run);
    assert_eq!(refused("post-run", scene.station.post_run(&run), "RUN_STATE").metadata["state"], "completed");
}
