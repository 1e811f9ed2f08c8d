//! `kill -9` at every named point: names old or new, never half; a start mends the rest; the same call then succeeds.

use std::os::unix::process::ExitStatusExt;

use stationmaster::pb::OpenInto;

use crate::support::{
    Station,
    place::{Beside, run_opened},
    tamper::{Before, RESULTS, Rootfs, Scene, instance, run_script},
    whole_images,
};

const CRASH_AT: &str = "STATIONMASTER_CRASH_AT";

/// A scene whose service dies at a point; a container that carries another instance's label is there as well.
struct Doomed {
    scene: Scene,
    /// The sealed train, before anything was done.
    sealed: String,
    foreign: String,
}

impl Doomed {
    fn at(point: &str) -> Self {
        Self::of(Station::with("a").env(CRASH_AT, point).start())
    }

    fn of(station: Station) -> Self {
        let scene = Scene::with(station);
        let sealed = scene.engine.find(&scene.train.image).unwrap();
        Self { scene, sealed, foreign: String::new() }
    }

    fn stands_for(&self) -> String {
        self.scene.engine.find(&self.scene.train.image).expect("the name stands for an image")
    }

    /// The service has died as by `kill -9`.
    #[track_caller]
    fn dies(&mut self, said: Option<crate::support::Refusal>) {
        let said = said.expect("the call came to an end");
        assert_eq!(said.reason, "", "the service answered: {said:?}");
        assert_eq!(self.scene.station.wait().signal(), Some(9));
    }

    /// It starts again and has mended: nothing of its own is left, and what is somebody else's is.
    #[track_caller]
    fn starts_again(&mut self) {
        self.scene.station.set_env(CRASH_AT, None);
        self.scene.station.start_again();
        let own = self.scene.engine.service_containers(Some(&instance(&self.scene.station)));
        assert!(own.is_empty(), "containers of ours are left: {own:?}");
        let others = self.scene.engine.service_containers(Some("another-instance"));
        assert!(others.contains_key(&self.foreign), "somebody else's container is gone");
    }

    /// Exactly these images are left, and these names besides the train's two.
    #[track_caller]
    fn has_only(&self, images: &[&str], private: &[String]) {
        let train = &self.scene.train;
        let mut expected: Vec<&str> = images.to_vec();
        expected.sort_unstable();
        expected.dedup();
        let found = self.scene.engine.image_ids(&train.repository);
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected, "the images that are left");
        let mut names: Vec<String> = private.iter().chain([&train.base, &train.image]).cloned().collect();
        names.sort();
        assert_eq!(self.scene.engine.snapshot(&train.repository).tags.into_keys().collect::<Vec<_>>(), names);
    }

    fn is_opened(&self, image: &str) -> bool {
        let mut rootfs = Rootfs::of(&self.scene.engine, image);
        self.scene.train.code().iter().all(|(path, plain)| rootfs.content(&format!("opt/pht_train/{path}")) == plain)
    }

    /// The route can be completed, and the creator takes what came of it.
    #[track_caller]
    fn completes(&self, run_id: &str) {
        run_script(&self.scene.engine, &self.scene.train.image, RESULTS);
        let closed = self.scene.station.post_run(run_id).unwrap();
        self.is_completed(&closed);
    }

    #[track_caller]
    fn is_completed(&self, closed: &stationmaster::pb::PostRunOutcome) {
        assert!(closed.plaintext_held_by.is_empty(), "{closed:?}");
        assert_eq!(self.stands_for(), closed.image_id);
        self.has_only(&[&self.sealed, &closed.image_id], &[]);
        let opened = self.scene.train.open(&[]);
        assert_eq!((opened.stops_signed, opened.code), (1, self.scene.train.code()));
        assert_eq!(opened.files["d/a"], b"PLAINTEXT-CANARY-RESULT\n");
    }
}

fn private_names(run_id: &str) -> [String; 2] {
    ["base", "sealed"].map(|kind| format!("stationmaster-{kind}:{run_id}"))
}

#[track_caller]
fn pre_run_dies_at(point: &str, named: bool) {
    pre_run_dies(Doomed::at(point), named);
}

#[track_caller]
fn pre_run_dies(mut doomed: Doomed, named: bool) {
    let foreign = doomed.scene.engine.hold(&doomed.sealed, &[("org.stationmaster.instance", "another-instance")]);
    doomed.foreign.clone_from(&foreign.id);
    let answer = doomed.scene.pre_run().err();
    doomed.dies(answer);
    // A crash before all was read left something to sweep.
    let point = doomed.scene.station.env_for_start(CRASH_AT).unwrap_or_default();
    let read = !matches!(point.as_str(), "pre-run/intent" | "pre-run/kept");
    assert!(read || !doomed.scene.engine.service_containers(Some(&instance(&doomed.scene.station))).is_empty());
    let now = doomed.stands_for();
    assert_eq!(now != doomed.sealed, named, "whether the name stands for the opened image");
    assert_eq!(doomed.is_opened(&now), named, "the name stands for half an image");

    doomed.starts_again();
    assert_eq!(doomed.stands_for(), now, "the start moved the name");
    let run = if named {
        let run = doomed.scene.pre_run().unwrap();
        assert!(run.repeated_answer, "what was done is done again");
        run
    } else {
        doomed.has_only(&[&doomed.sealed], &[]);
        doomed.scene.pre_run().unwrap()
    };
    assert!(doomed.is_opened(&run.image_id));
    doomed.has_only(&[&doomed.sealed, &run.image_id], &private_names(&run.run_id));
    doomed.completes(&run.run_id);
}

#[track_caller]
fn post_run_dies_at(point: &str, named: bool) {
    post_run_dies(Doomed::at(point), named);
}

#[track_caller]
fn post_run_dies(mut doomed: Doomed, named: bool) {
    let foreign = doomed.scene.engine.hold(&doomed.sealed, &[("org.stationmaster.instance", "another-instance")]);
    doomed.foreign.clone_from(&foreign.id);
    let run = doomed.scene.pre_run().unwrap();
    let ran = run_script(&doomed.scene.engine, &doomed.scene.train.image, RESULTS);
    let answer = doomed.scene.station.post_run(&run.run_id).err();
    doomed.dies(answer);
    let now = doomed.stands_for();
    assert_eq!(now != ran, named, "whether the name stands for the sealed image");
    assert_eq!(doomed.is_opened(&now), !named, "the name stands for half an image");
    if named {
        assert_eq!(doomed.scene.train.open(&[]).stops_signed, 1);
    }

    doomed.starts_again();
    assert_eq!(doomed.stands_for(), now, "the start moved the name");
    if !named {
        doomed.has_only(&[&doomed.sealed, &run.image_id, &ran], &private_names(&run.run_id));
    }
    let closed = doomed.scene.station.post_run(&run.run_id).unwrap();
    assert_eq!(closed.repeated_answer, named);
    doomed.is_completed(&closed);
}

/// Beside the image there is no name to move: what is recorded is done.
#[track_caller]
fn pre_run_beside_dies_at(point: &str, into: OpenInto, recorded: bool) {
    let mut doomed = Doomed::at(point);
    let foreign = doomed.scene.engine.hold(&doomed.sealed, &[("org.stationmaster.instance", "another-instance")]);
    doomed.foreign.clone_from(&foreign.id);
    let answer = doomed.scene.station.open_into(&doomed.scene.train.image, into).err();
    doomed.dies(answer);
    assert_eq!(doomed.stands_for(), doomed.sealed);
    assert!(!Beside::of(&doomed.scene.station).is_empty(), "the crash left nothing to wipe");

    doomed.starts_again();
    if !recorded {
        assert!(Beside::of(&doomed.scene.station).is_empty(), "{:?}", Beside::of(&doomed.scene.station));
        doomed.has_only(&[&doomed.sealed], &[]);
    }
    let run = doomed.scene.station.open_into(&doomed.scene.train.image, into).unwrap();
    assert_eq!(run.repeated_answer, recorded);
    run_opened(&doomed.scene.engine, &run, Some(RESULTS), &[]);
    let closed = doomed.scene.station.post_run(&run.run_id).unwrap();
    doomed.is_completed(&closed);
    assert!(Beside::of(&doomed.scene.station).is_empty());
}

#[track_caller]
fn post_run_beside_dies_at(point: &str, into: OpenInto, named: bool) {
    let mut doomed = Doomed::at(point);
    let foreign = doomed.scene.engine.hold(&doomed.sealed, &[("org.stationmaster.instance", "another-instance")]);
    doomed.foreign.clone_from(&foreign.id);
    let run = doomed.scene.station.open_into(&doomed.scene.train.image, into).unwrap();
    run_opened(&doomed.scene.engine, &run, Some(RESULTS), &[]);
    let answer = doomed.scene.station.post_run(&run.run_id).err();
    doomed.dies(answer);
    assert_eq!(doomed.stands_for() != doomed.sealed, named);

    doomed.starts_again();
    assert_eq!(Beside::of(&doomed.scene.station).is_empty(), named, "a run's outcome is wiped when it is sealed, and not before");
    let closed = doomed.scene.station.post_run(&run.run_id).unwrap();
    assert_eq!(closed.repeated_answer, named);
    doomed.is_completed(&closed);
    assert!(Beside::of(&doomed.scene.station).is_empty());
}

#[track_caller]
fn abort_beside_dies_at(point: &str, into: OpenInto, _: bool) {
    let mut doomed = Doomed::at(point);
    let foreign = doomed.scene.engine.hold(&doomed.sealed, &[("org.stationmaster.instance", "another-instance")]);
    doomed.foreign.clone_from(&foreign.id);
    let before = Before::of(&doomed.scene.engine, &doomed.scene.train);
    let run = doomed.scene.station.open_into(&doomed.scene.train.image, into).unwrap();
    let answer = doomed.scene.station.abort(&run.run_id).err();
    doomed.dies(answer);
    doomed.starts_again();
    before.assert(&doomed.scene.station, "a start after a killed abort");
}

#[test]
fn an_abort_that_is_killed_is_finished() {
    let mut doomed = Doomed::at("abort/intent");
    let foreign = doomed.scene.engine.hold(&doomed.sealed, &[("org.stationmaster.instance", "another-instance")]);
    doomed.foreign.clone_from(&foreign.id);
    let before = Before::of(&doomed.scene.engine, &doomed.scene.train);
    let run = doomed.scene.pre_run().unwrap();
    let answer = doomed.scene.station.abort(&run.run_id).err();
    doomed.dies(answer);
    assert_eq!(doomed.stands_for(), run.image_id);
    doomed.starts_again();
    before.assert(&doomed.scene.station, "a start after a killed abort");
    doomed.scene.station.abort(&run.run_id).unwrap();
    let run = doomed.scene.pre_run().unwrap();
    doomed.completes(&run.run_id);
}

macro_rules! points {
    ($($step:ident $name:ident $point:literal $named:literal,)*) => {$(
        #[test]
        fn $name() {
            $step($point, $named);
        }
    )*};
}

// The last column: whether the name has moved by then.
points! {
    pre_run_dies_at pre_run_killed_after_its_intent "pre-run/intent" false,
    pre_run_dies_at pre_run_killed_after_it_kept_the_sealed_image "pre-run/kept" false,
    pre_run_dies_at pre_run_killed_after_it_verified_the_train "pre-run/verified" false,
    pre_run_dies_at pre_run_killed_after_it_announced_the_image "pre-run/announced" false,
    pre_run_dies_at pre_run_killed_after_it_loaded_the_image "pre-run/loaded" false,
    pre_run_dies_at pre_run_killed_after_it_recorded_the_outcome "pre-run/recorded" false,
    pre_run_dies_at pre_run_killed_after_it_moved_the_name "pre-run/tagged" true,
    post_run_dies_at post_run_killed_after_its_intent "post-run/intent" false,
    post_run_dies_at post_run_killed_after_it_sealed_the_results "post-run/sealed" false,
    post_run_dies_at post_run_killed_after_it_signed_them "post-run/signed" false,
    post_run_dies_at post_run_killed_after_it_announced_the_image "post-run/announced" false,
    post_run_dies_at post_run_killed_after_it_loaded_the_image "post-run/loaded" false,
    post_run_dies_at post_run_killed_after_it_recorded_the_outcome "post-run/recorded" false,
    post_run_dies_at post_run_killed_after_it_moved_the_name "post-run/tagged" true,
    post_run_dies_at post_run_killed_after_it_cleaned_up "post-run/cleaned" true,
}

macro_rules! points_beside {
    ($($step:ident $name:ident $point:literal $into:ident $done:literal,)*) => {$(
        #[test]
        fn $name() {
            $step($point, OpenInto::$into, $done);
        }
    )*};
}

// The last column: whether the step counts as done by then.
points_beside! {
    pre_run_beside_dies_at pre_run_killed_after_it_opened_the_results_into_a_directory "pre-run/verified" Directory false,
    pre_run_beside_dies_at pre_run_killed_after_it_opened_the_code_into_a_directory "pre-run/loaded" Directory false,
    pre_run_beside_dies_at pre_run_killed_after_it_recorded_a_directory "pre-run/recorded" Directory true,
    pre_run_beside_dies_at pre_run_killed_after_it_made_volumes "pre-run/volumes" Volume false,
    pre_run_beside_dies_at pre_run_killed_after_it_filled_volumes "pre-run/loaded" Volume false,
    pre_run_beside_dies_at pre_run_killed_after_it_recorded_volumes "pre-run/recorded" Volume true,
    post_run_beside_dies_at post_run_killed_after_it_sealed_a_directory "post-run/sealed" Directory false,
    post_run_beside_dies_at post_run_killed_after_it_moved_the_name_of_a_directorys_train "post-run/tagged" Directory true,
    post_run_beside_dies_at post_run_killed_after_it_sealed_volumes "post-run/loaded" Volume false,
    post_run_beside_dies_at post_run_killed_after_it_moved_the_name_of_a_volumes_train "post-run/tagged" Volume true,
    abort_beside_dies_at abort_of_a_directory_killed_after_its_intent "abort/intent" Directory true,
    abort_beside_dies_at abort_of_volumes_killed_after_its_intent "abort/intent" Volume true,
}

/// A station that sends the engine whole images, and dies.
fn doomed_with_whole_images(point: &str) -> Doomed {
    Doomed::of(Station::with("a").env(CRASH_AT, point).start_configured(whole_images))
}

#[test]
fn pre_run_killed_before_its_whole_image_is_there_is_rolled_back() {
    pre_run_dies(doomed_with_whole_images("pre-run/announced"), false);
}

#[test]
fn pre_run_killed_when_its_whole_image_is_there_is_rolled_back() {
    pre_run_dies(doomed_with_whole_images("pre-run/loaded"), false);
}

#[test]
fn post_run_killed_before_its_whole_image_is_there_is_rolled_back() {
    post_run_dies(doomed_with_whole_images("post-run/announced"), false);
}

#[test]
fn every_crash_point_of_the_source_has_its_test() {
    let source = |name: &str| std::fs::read_to_string(format!("{}/src/protocol/{name}.rs", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let tests = include_str!("crash.rs");
    let points: Vec<String> = ["pre_run", "write_opened", "post_run", "abort", "inspect", "recover", "hash_image"]
        .iter()
        .flat_map(|name| {
            source(name)
                .split("crash::point(\"")
                .skip(1)
                .map(|rest| rest.split('"').next().unwrap().to_owned())
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(points.len() >= 16, "{points:?}");
    for point in points {
        assert!(tests.contains(&format!("\"{point}\"")), "nothing is killed at {point}");
    }
}
