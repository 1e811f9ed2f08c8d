//! `kill -9` at any point of a step: names old or new, never half; a start mends the rest; the same call then succeeds.

mod engine;
mod layouts;
mod points;
mod random;

use std::{cell::Cell, fs, os::unix::process::ExitStatusExt, path::Path};

use stationmaster_proto::{OpenInto, PostRunOutcome, PreRunOutcome};

use crate::support::{
    Held, Launch, Refusal, Station,
    mounts::{Beside, run_opened},
    tamper::{Before, RESULTS, Rootfs, Scene, holds, instance},
    whole_images,
};

const CRASH_AT: &str = "STATIONMASTER_CRASH_AT";

thread_local! {
    /// Services that died under a step, in this test.
    static KILLS: Cell<usize> = const { Cell::new(0) };
}

/// How often the soak does everything: `STATIONMASTER_SOAK_ROUNDS`, by default 5 times.
fn soak_rounds() -> usize {
    std::env::var("STATIONMASTER_SOAK_ROUNDS").map_or(5, |text| text.parse().expect("a number of rounds"))
}

/// How a train is opened and closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Into an image; the engine is sent only the new layer.
    Image,
    /// Into an image; the engine is sent all of it.
    Whole,
    Volume,
    Directory,
}

impl Mode {
    fn place(self) -> OpenInto {
        match self {
            Self::Image | Self::Whole => OpenInto::Image,
            Self::Volume => OpenInto::Volume,
            Self::Directory => OpenInto::Directory,
        }
    }

    /// Whether the train is opened beside its image: there is no name to move.
    fn is_beside(self) -> bool {
        self.place() != OpenInto::Image
    }

    #[track_caller]
    fn start(self, launch: Launch) -> Station {
        if self == Self::Whole { launch.start_configured(whole_images) } else { launch.start() }
    }
}

/// A scene whose service dies; a container that carries another instance's label is there as well.
struct Doomed {
    foreign: Held,
    scene: Scene,
    mode: Mode,
    /// The sealed train, before anything was done.
    sealed: String,
}

impl Doomed {
    /// Its service dies at a point.
    #[track_caller]
    fn at(point: &str, mode: Mode) -> Self {
        Self::of(Scene::with(mode.start(Station::with("a").env(CRASH_AT, point))), mode)
    }

    #[track_caller]
    fn of(scene: Scene, mode: Mode) -> Self {
        let sealed = scene.engine.find(&scene.train.image).expect("a train");
        let foreign = scene.engine.hold(&sealed, &[("org.stationmaster.instance", "another-instance")]);
        Self { foreign, scene, mode, sealed }
    }

    fn open(&self) -> Result<PreRunOutcome, Refusal> {
        self.scene.station.open_into(&self.scene.train.image, self.mode.place())
    }

    fn stands_for(&self) -> String {
        self.scene.engine.find(&self.scene.train.image).expect("the name stands for an image")
    }

    fn is_opened(&self, image: &str) -> bool {
        let mut rootfs = Rootfs::of(&self.scene.engine, image);
        self.scene.train.code().iter().all(|(path, plain)| rootfs.content(&format!("opt/pht_train/{path}")) == plain)
    }

    /// The service has died as by `kill -9`.
    #[track_caller]
    fn died<T: std::fmt::Debug>(&mut self, answer: Result<T, Refusal>) {
        died(&mut self.scene.station, answer);
    }

    #[track_caller]
    fn is_dead(&mut self) {
        is_dead(&mut self.scene.station);
    }

    /// It starts again and has recovered: no container of its own is left, those of others are, and no name moved.
    #[track_caller]
    fn starts_again(&mut self) {
        let now = self.stands_for();
        self.scene.station.set_env(CRASH_AT, None);
        self.scene.station.start_again();
        let own = self.scene.engine.service_containers(Some(&instance(&self.scene.station)));
        assert!(own.is_empty(), "containers of ours are left: {own:?}");
        let others = self.scene.engine.service_containers(Some("another-instance"));
        assert!(others.contains_key(&self.foreign.id), "somebody else's container is gone");
        assert_eq!(self.stands_for(), now, "the start moved the name");
    }

    /// Exactly these images are left, and these names in addition to the train's two.
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

    /// Nothing is opened, anywhere.
    #[track_caller]
    fn holds_nothing(&self) {
        let beside = Beside::of(&self.scene.station);
        assert!(beside.is_empty(), "opened trains are left: {beside:?}");
        no_plaintext_below(self.scene.station.state());
    }

    /// All is as before the first call.
    #[track_caller]
    fn is_untouched(&self) {
        assert_eq!(self.stands_for(), self.sealed);
        self.has_only(&[&self.sealed], &[]);
        self.holds_nothing();
    }

    /// The run can be completed, and the creator takes what came of it.
    #[track_caller]
    fn completes(&self, run: &PreRunOutcome) {
        run_opened(&self.scene.engine, run, Some(RESULTS), &[]);
        self.is_completed(&self.scene.station.post_run(&run.run_id).unwrap());
    }

    #[track_caller]
    fn is_completed(&self, closed: &PostRunOutcome) {
        assert!(closed.plaintext_held_by.is_empty(), "{closed:?}");
        assert_eq!(self.stands_for(), closed.image_id);
        self.has_only(&[&self.sealed, &closed.image_id], &[]);
        self.holds_nothing();
        let opened = self.scene.train.open(&[]);
        assert_eq!((opened.stops_signed, opened.code), (1, self.scene.train.code()));
        assert_eq!(opened.files["d/a"], b"PLAINTEXT-CANARY-RESULT\n");
    }
}

/// A service has died under a call as by `kill -9`.
#[track_caller]
fn died<T: std::fmt::Debug>(station: &mut Station, answer: Result<T, Refusal>) {
    let said = answer.expect_err("the call came to an end");
    assert_eq!(said.reason, "", "the service answered: {said:?}");
    is_dead(station);
}

#[track_caller]
fn is_dead(station: &mut Station) {
    assert_eq!(station.wait().signal(), Some(9));
    KILLS.set(KILLS.get() + 1);
}

fn private_names(run_id: &str) -> [String; 2] {
    ["base", "sealed"].map(|kind| format!("stationmaster-{kind}:{run_id}"))
}

#[track_caller]
fn no_plaintext_below(directory: &Path) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?))).expect("an entry");
        if kind.is_dir() {
            no_plaintext_below(&path);
        } else if kind.is_file() {
            let bytes = fs::read(&path).expect("a file of the station's");
            assert!(!holds(&bytes, b"PLAINTEXT-CANARY"), "plaintext is left in {}", path.display());
        }
    }
}

/// A pre-run is killed at a point where it is `done` already or not.
#[track_caller]
fn pre_run_is_killed(point: &str, mode: Mode, done: bool) {
    let mut doomed = Doomed::at(point, mode);
    let answer = doomed.open();
    doomed.died(answer);
    let (now, named) = (doomed.stands_for(), done && !mode.is_beside());
    assert_eq!(now != doomed.sealed, named, "whether the name stands for the opened image");
    assert_eq!(doomed.is_opened(&now), named, "the name stands for half an image");

    doomed.starts_again();
    if !done {
        doomed.is_untouched();
    }
    let run = doomed.open().unwrap();
    assert_eq!(run.repeated_answer, done, "whether what was done is done again");
    if mode.is_beside() {
        assert_eq!(doomed.stands_for(), doomed.sealed);
    } else {
        assert!(doomed.is_opened(&run.image_id));
        doomed.has_only(&[&doomed.sealed, &run.image_id], &private_names(&run.run_id));
    }
    doomed.completes(&run);
}

/// A post-run is killed at a point where it is `done` already or not.
#[track_caller]
fn post_run_is_killed(point: &str, mode: Mode, done: bool) {
    let mut doomed = Doomed::at(point, mode);
    let run = doomed.open().unwrap();
    run_opened(&doomed.scene.engine, &run, Some(RESULTS), &[]);
    let ran = doomed.stands_for();
    let answer = doomed.scene.station.post_run(&run.run_id);
    doomed.died(answer);
    let now = doomed.stands_for();
    assert_eq!(now != ran, done, "whether the name stands for the sealed image");
    if done {
        assert_eq!(doomed.scene.train.open(&[]).stops_signed, 1);
    } else {
        assert_eq!(doomed.is_opened(&now), !mode.is_beside(), "the name stands for half an image");
    }

    doomed.starts_again();
    if done {
        doomed.has_only(&[&doomed.sealed, &now], &[]);
        doomed.holds_nothing();
    } else if mode.is_beside() {
        doomed.has_only(&[&doomed.sealed], &private_names(&run.run_id));
        assert!(!Beside::of(&doomed.scene.station).is_empty(), "what the run left is gone before it is sealed");
    } else {
        doomed.has_only(&[&doomed.sealed, &run.image_id, &ran], &private_names(&run.run_id));
    }
    let closed = doomed.scene.station.post_run(&run.run_id).unwrap();
    assert_eq!(closed.repeated_answer, done, "whether what was done is done again");
    doomed.is_completed(&closed);
}

/// An abort is killed: a start finishes it.
#[track_caller]
fn abort_is_killed(point: &str, mode: Mode) {
    let mut doomed = Doomed::at(point, mode);
    let before = Before::of(&doomed.scene.engine, &doomed.scene.train);
    let run = doomed.open().unwrap();
    let answer = doomed.scene.station.abort(&run.run_id);
    doomed.died(answer);
    doomed.scene.station.set_env(CRASH_AT, None);
    doomed.scene.station.start_again();
    before.assert(&doomed.scene.station, "a start after a killed abort");
    doomed.is_untouched();
    doomed.scene.station.abort(&run.run_id).unwrap();
    let run = doomed.open().unwrap();
    doomed.completes(&run);
}

/// A pre-run is killed when all is written and nothing named; the start that undoes it is killed, too.
#[track_caller]
fn mending_is_killed(point: &str, mode: Mode) {
    let mut doomed = Doomed::at("pre-run/loaded", mode);
    let answer = doomed.open();
    doomed.died(answer);
    doomed.scene.station.set_env(CRASH_AT, Some(point));
    doomed.scene.station.spawn();
    doomed.is_dead();
    doomed.starts_again();
    doomed.is_untouched();
    let run = doomed.open().unwrap();
    doomed.completes(&run);
}
