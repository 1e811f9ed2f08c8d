//! Runs are safe to repeat: the same call gets the same answer, anything else a refusal that says what state the run is in.

use std::process::Stdio;

use stationmaster_proto::OpenInto;

use crate::support::{
    Station, Train,
    mounts::{EVERYWHERE, run_opened},
    tamper::{Before, RESULTS, Scene, instance, refused, run_script},
};

/// `RUN_STATE`, and which.
#[track_caller]
fn in_state<T>(what: &str, answer: Result<T, crate::support::Refusal>, state: &str) {
    let refusal = refused(what, answer, "RUN_STATE");
    assert_eq!(refusal.metadata["state"], state, "{what}");
    assert!(!refusal.metadata["run_id"].is_empty(), "{what}");
}

#[test]
fn the_same_pre_run_gets_the_same_run() {
    let scene = Scene::pinned();
    let sealed = scene.engine.find(&scene.train.image).unwrap();
    let first = scene.pre_run().unwrap();
    assert!(!first.repeated_answer);
    assert_eq!(first.source_image_id, sealed);
    let before = Before::of(&scene.engine, &scene.train);

    // The name now stands for pre-run's own output.
    let mut second = scene.pre_run().unwrap();
    assert!(std::mem::take(&mut second.repeated_answer));
    assert_eq!(second, first);
    before.assert(&scene.station, "a repeated call");

    // A repeated pull puts the name back on the sealed image: it is opened again.
    scene.engine.tag(&sealed, &scene.train.repository, "latest");
    let mut third = scene.pre_run().unwrap();
    assert!(std::mem::take(&mut third.repeated_answer));
    assert_eq!(third, first);
    before.assert(&scene.station, "a call after a repeated pull");
}

#[test]
fn the_sealed_image_stays_under_a_private_name_until_the_run_ends() {
    let scene = Scene::pinned();
    let sealed = scene.engine.find(&scene.train.image).unwrap();
    let run = scene.pre_run().unwrap();
    let tags = scene.engine.snapshot(&scene.train.repository).tags;
    let private = |kind: &str| format!("stationmaster-{kind}:{}", run.run_id);
    assert_eq!(tags.get(&private("sealed")), Some(&sealed));
    assert_eq!(tags.get(&private("base")), Some(&sealed));
    scene.station.post_run_without_results(&run.run_id).unwrap();
    let tags: Vec<String> = scene.engine.snapshot(&scene.train.repository).tags.into_keys().collect();
    assert_eq!(tags, [scene.train.base.clone(), scene.train.image.clone()]);
}

#[test]
fn an_idempotency_key_stands_for_one_image() {
    // Two creators of one id: what is pinned would tell them apart first.
    let scene = Scene::set();
    let other = Train::of(&[scene.station.seat()]).make();
    let run = scene.station.pre_run_as(&scene.train.image, "key 1").unwrap();
    assert_eq!(scene.station.pre_run_as(&scene.train.image, "key 1").unwrap().run_id, run.run_id);
    let before = Before::of(&scene.engine, &other);
    let mismatch = refused("another image", scene.station.pre_run_as(&other.image, "key 1"), "IDEMPOTENCY_MISMATCH");
    assert_eq!(mismatch.code, tonic::Code::AlreadyExists);
    before.assert(&scene.station, "another image");
    in_state("another key", scene.station.pre_run_as(&scene.train.image, "key 2"), "prepared");
    let long = "k".repeat(257);
    refused("a key too long", scene.station.pre_run_as(&other.image, &long), "MALFORMED_REQUEST");
    scene.station.pre_run_as(&other.image, "key 2").unwrap();
}

#[test]
fn the_same_post_run_gets_the_same_answer() {
    let scene = Scene::pinned();
    let run = scene.pre_run().unwrap();
    run_script(&scene.engine, &scene.train.image, RESULTS);
    let first = scene.station.post_run(&run.run_id).unwrap();
    assert!(!first.repeated_answer);
    let before = Before::of(&scene.engine, &scene.train);
    for (run_id, image) in [(run.run_id.as_str(), ""), (&run.run_id, &scene.train.image), ("", &scene.train.image)] {
        let mut again = scene.station.post_run_of(run_id, image).unwrap();
        assert!(std::mem::take(&mut again.repeated_answer));
        assert_eq!(again, first);
    }
    before.assert(&scene.station, "a repeated call");
    in_state("another image", scene.station.post_run_of(&run.run_id, &scene.train.base), "completed");
    in_state("abort", scene.station.abort(&run.run_id), "completed");
    before.assert(&scene.station, "calls that are refused");
}

#[test]
fn a_run_is_found_by_its_image_and_written_to_it() {
    let scene = Scene::pinned();
    scene.pre_run().unwrap();
    run_script(&scene.engine, &scene.train.image, RESULTS);
    let ran = scene.engine.find(&scene.train.image).unwrap();
    scene.engine.tag(&ran, &scene.train.repository, "ran");
    let image = format!("{}:ran", scene.train.repository);
    let closed = scene.station.post_run_of("", &image).unwrap();
    assert_eq!(closed.image, image);
    assert_eq!(scene.engine.find(&image).unwrap(), closed.image_id);
    // Another name of the plaintext is not ours to take away: it is said.
    assert!(closed.plaintext_held_by.contains(&format!("name:{}", scene.train.image)), "{closed:?}");
}

#[test]
fn a_train_that_is_done_here_is_not_opened_again() {
    let scene = Scene::pinned();
    let sealed = scene.engine.find(&scene.train.image).unwrap();
    let run = scene.pre_run().unwrap();
    run_script(&scene.engine, &scene.train.image, RESULTS);
    scene.station.post_run(&run.run_id).unwrap();
    let before = Before::of(&scene.engine, &scene.train);
    assert_eq!(refused("its own output", scene.pre_run(), "TRAIN_REPLAYED").metadata["run_id"], run.run_id);
    before.assert(&scene.station, "its own output");
    scene.engine.tag(&sealed, &scene.train.repository, "latest");
    assert_eq!(refused("the image that came", scene.pre_run(), "TRAIN_REPLAYED").metadata["run_id"], run.run_id);
}

#[test]
fn an_abort_puts_the_sealed_image_back_and_frees_the_stop() {
    let scene = Scene::pinned();
    let before = Before::of(&scene.engine, &scene.train);
    let run = scene.pre_run().unwrap();
    let aborted = scene.station.abort(&run.run_id).unwrap();
    assert_eq!((&aborted.run_id, &aborted.image), (&run.run_id, &scene.train.image));
    assert!(aborted.plaintext_held_by.is_empty(), "{aborted:?}");
    before.assert(&scene.station, "abort");
    assert_eq!(scene.station.abort(&run.run_id).unwrap(), aborted);
    in_state("post-run", scene.station.post_run(&run.run_id), "aborted");
    before.assert(&scene.station, "after the abort");

    let second = scene.pre_run().unwrap();
    assert!(!second.repeated_answer && second.run_id != run.run_id);
    run_script(&scene.engine, &scene.train.image, RESULTS);
    scene.station.post_run(&second.run_id).unwrap();
    assert_eq!(scene.train.open(&[]).stops_signed, 1);
}

#[test]
fn an_abort_after_the_run_deletes_its_results() {
    let scene = Scene::pinned();
    let before = Before::of(&scene.engine, &scene.train);
    let run = scene.pre_run().unwrap();
    run_script(&scene.engine, &scene.train.image, RESULTS);
    let aborted = scene.station.abort(&run.run_id).unwrap();
    assert!(aborted.plaintext_held_by.is_empty(), "{aborted:?}");
    before.assert(&scene.station, "abort");
}

#[test]
fn a_run_that_was_never_begun_is_not_found() {
    let station = Station::start("a");
    let unknown = uuid::Uuid::now_v7().to_string();
    refused("post-run", station.post_run(&unknown), "RUN_NOT_FOUND");
    refused("abort", station.abort(&unknown), "RUN_NOT_FOUND");
    refused("neither run nor image", station.post_run(""), "MALFORMED_REQUEST");
    let train = Train::of(&[station.seat()]).make();
    refused("an image without a run", station.post_run_of("", &train.image), "RUN_NOT_FOUND");
}

#[test]
fn of_pre_runs_at_once_one_opens_the_train() {
    let scene = Scene::pinned();
    let answers: Vec<_> = std::thread::scope(|scope| {
        // As many as one principal may have at once: `limits.runs` is 4, and one place is left to others.
        let calls: Vec<_> = (0..3).map(|_| scope.spawn(|| scene.pre_run())).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    let mut runs: Vec<_> = answers.iter().flatten().map(|run| (run.run_id.clone(), run.image_id.clone())).collect();
    runs.dedup();
    assert_eq!(runs.len(), 1, "{answers:?}");
    let new = answers.iter().flatten().filter(|run| !run.repeated_answer).count();
    assert_eq!(new, 1, "{answers:?}");
    for refusal in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!((refusal.reason.as_str(), refusal.code), ("TRAIN_BUSY", tonic::Code::Aborted), "{refusal:?}");
    }
    assert_eq!(scene.pre_run().unwrap().run_id, runs[0].0);
}

#[test]
fn what_still_holds_plaintext_is_reported() {
    let scene = Scene::pinned();
    let run = scene.pre_run().unwrap();
    let held = scene.engine.hold(&run.image_id, &[]);
    let ran = run_script(&scene.engine, &scene.train.image, RESULTS);
    let also = scene.engine.hold(&ran, &[]);
    let closed = scene.station.post_run(&run.run_id).unwrap();
    for holder in [&held.id, &also.id] {
        assert!(closed.plaintext_held_by.contains(holder), "{holder} is not named: {:?}", closed.plaintext_held_by);
    }
    assert!(scene.engine.image_ids(&scene.train.repository).contains(&run.image_id), "it is said to be held, and is gone");
}

#[test]
fn a_second_service_on_one_state_directory_refuses_to_start() {
    let station = Station::start("a");
    let mut second = station.client_command(&["serve", "--dev", "--station", "a", "--state"]);
    let ended = second.arg(station.state()).stdin(Stdio::null()).output().unwrap();
    assert_eq!(ended.status.code(), Some(5), "{ended:?}");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(said.contains("hint: stop the other service") && said.contains(&station.pid().to_string()), "{said}");
    assert_eq!(station.health().unwrap(), "SERVING");
}

#[test]
fn a_start_removes_containers_of_its_own_instance_only() {
    let mut scene = Scene::pinned();
    let label = |value: &str| [("org.stationmaster.instance", value.to_owned())];
    let own = label(&instance(&scene.station));
    let foreign = label("another-instance");
    let hold = |labels: &[(&str, String); 1]| scene.engine.hold(&scene.train.image, &[(labels[0].0, &labels[0].1)]);
    let (own, foreign, plain) = (hold(&own), hold(&foreign), scene.engine.hold(&scene.train.image, &[]));
    scene.station.stop();
    scene.station.start_again();
    let left = scene.engine.snapshot(&scene.train.repository).containers;
    assert!(!left.contains_key(&own.id), "its own is left");
    assert!(left.contains_key(&foreign.id) && left.contains_key(&plain.id), "somebody else's is gone: {left:?}");
}

#[test]
fn runs_outlive_the_service() {
    let mut scene = Scene::pinned();
    let run = scene.pre_run().unwrap();
    scene.station.stop();
    scene.station.start_again();
    assert_eq!(scene.pre_run().unwrap().run_id, run.run_id);
    run_script(&scene.engine, &scene.train.image, RESULTS);
    scene.station.kill();
    scene.station.start_again();
    let closed = scene.station.post_run(&run.run_id).unwrap();
    scene.station.stop();
    scene.station.start_again();
    let again = scene.station.post_run(&run.run_id).unwrap();
    assert!(again.repeated_answer && again.image_id == closed.image_id);
}

#[test]
fn a_run_without_results_is_sealed_only_on_explicit_request() {
    for into in EVERYWHERE {
        let scene = Scene::set();
        let run = scene.station.open_into(&scene.train.image, into).unwrap();
        // What `docker run` without a commit leaves, and a mount that was not written to.
        let before = Before::of(&scene.engine, &scene.train);
        let refusal = refused("nothing was committed", scene.station.post_run(&run.run_id), "RUN_UNCHANGED");
        assert_eq!((refusal.code, &refusal.metadata["run_id"]), (tonic::Code::FailedPrecondition, &run.run_id), "{into:?}");
        if into == OpenInto::Image {
            says_commit(&scene, &run.run_id);
            assert!(refusal.message.contains(&scene.train.image), "{}", refusal.message);
            refused("by its image", scene.station.post_run_of("", &scene.train.image), "RUN_UNCHANGED");
            before.assert(&scene.station, "a run that left nothing");
        }
        // The run is open: it is closed as soon as there is something, or when the caller says that there is nothing.
        if into == OpenInto::Volume {
            run_opened(&scene.engine, &run, Some(RESULTS), &[]);
            assert_eq!(scene.station.post_run(&run.run_id).unwrap().result_files, 2);
        } else {
            let closed = scene.station.post_run_without_results(&run.run_id).unwrap();
            assert_eq!(closed.result_files, 0, "{into:?}");
            assert!(closed.warnings.iter().any(|warning| warning.contains("no new results")), "{closed:?}");
        }
        assert_eq!(scene.train.open(&[]).stops_signed, 1);
    }
}

/// The commands say that the container must be committed: before, and where it was not.
#[track_caller]
fn says_commit(scene: &Scene, run_id: &str) {
    let next = crate::cli::output(&mut scene.station.client_command(&["train", "pre-run", &scene.train.image]));
    assert!(next.contains(&format!("docker commit NAME {}", scene.train.image)), "{next}");
    let unchanged = scene.station.client_command(&["train", "post-run", run_id]).output().unwrap();
    let said = crate::cli::said(&unchanged);
    assert_eq!(unchanged.status.code(), Some(4), "{said}");
    assert!(said.contains("RUN_UNCHANGED") && said.contains("docker commit") && said.contains("--no-results"), "{said}");
}

#[test]
fn a_run_that_left_an_empty_file_and_no_byte_has_left_something() {
    let scene = Scene::pinned();
    let run = scene.station.open_into(&scene.train.image, OpenInto::Directory).unwrap();
    run_opened(&scene.engine, &run, Some(": > /opt/pht_results/none-found"), &[]);
    assert_eq!(scene.station.post_run(&run.run_id).unwrap().result_files, 1);
}
