//! Kills of a service without an engine: a layout is as it was, or all of what was written is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use stationmaster_proto::{OpenInto, PreRunOutcome, mount::Source};

use super::{
    CRASH_AT, KILLS, Mode, died, is_dead, no_plaintext_below,
    points::{POINTS, Point, Step},
    soak_rounds,
};
use crate::{
    images::layouts::holds_no_plaintext,
    support::{Refusal, Station, Train, skopeo_layouts::Yard},
};

/// Points that only steps in layouts come to.
pub const OF_LAYOUTS: [Point; 14] = [
    ("layout/half", Step::PreRun, &[Mode::Image], &[]),
    ("layout/blobs", Step::PreRun, &[Mode::Image], &[]),
    ("layout/half", Step::PostRun, &[Mode::Image, Mode::Directory], &[]),
    ("layout/blobs", Step::PostRun, &[Mode::Image, Mode::Directory], &[]),
    ("layout/index", Step::PostRun, &[Mode::Image, Mode::Directory], &[]),
    // Beside the image nothing goes: at its first stop a train is its base.
    ("layout/removing", Step::PostRun, &[Mode::Image], &[Mode::Image]),
    ("layout/removed", Step::PostRun, &[Mode::Image], &[Mode::Image]),
    ("layout/index", Step::PreRun, &[Mode::Image, Mode::Directory], &[]),
    ("layout/index", Step::Abort, &[Mode::Image, Mode::Directory], &[]),
    ("layout/removing", Step::Abort, &[Mode::Image], &[]),
    ("layout/removed", Step::Abort, &[Mode::Image], &[]),
    ("layout/index", Step::Mending, &[Mode::Image, Mode::Directory], &[]),
    ("layout/removing", Step::Mending, &[Mode::Image], &[]),
    ("layout/removed", Step::Mending, &[Mode::Image], &[]),
];

/// A train in a layout, and a service that dies.
struct Doomed {
    yard: Yard,
    train: Train,
    station: Station,
    into: OpenInto,
    /// Tags and blobs, before anything was done.
    before: (BTreeMap<String, String>, BTreeSet<String>),
}

impl Doomed {
    fn new(into: OpenInto) -> Self {
        let yard = Yard::new();
        let station = Station::with("a").layouts(yard.path()).start();
        let train = Train::of(&[station.seat()]).make();
        yard.take(&train);
        let before = (yard.tags(&train), yard.blobs(&train));
        Self { yard, train, station, into, before }
    }

    /// From now on it dies at a point.
    #[track_caller]
    fn dies_at(&mut self, point: &str) {
        self.station.stop();
        self.station.set_env(CRASH_AT, Some(point));
        self.station.start_again();
    }

    fn open(&self) -> Result<PreRunOutcome, Refusal> {
        self.station.open_into(&self.train.image, self.into)
    }

    #[track_caller]
    fn starts_again(&mut self) {
        self.station.set_env(CRASH_AT, None);
        self.station.start_again();
    }

    fn latest(&self) -> String {
        self.yard.tags(&self.train)["latest"].clone()
    }

    /// All is as before the first call.
    #[track_caller]
    fn is_untouched(&self) {
        assert_eq!((self.yard.tags(&self.train), self.yard.blobs(&self.train)), self.before);
        self.holds_nothing();
    }

    #[track_caller]
    fn holds_nothing(&self) {
        holds_no_plaintext(&self.yard, &self.train);
        no_plaintext_below(self.station.state());
        let files = fs::read_dir(self.yard.layout(&self.train)).unwrap().map(|file| file.unwrap().file_name());
        let files: BTreeSet<String> = files.map(|name| name.into_string().unwrap()).collect();
        assert!(files.iter().all(|name| ["blobs", "index.json", "oci-layout"].contains(&name.as_str())), "{files:?}");
    }

    /// The algorithm's effect.
    fn run(&self, run: &PreRunOutcome) {
        let results = self.train.expected_results(1);
        let mount = run.mounts.iter().find(|mount| mount.target == "/opt/pht_results").and_then(|mount| mount.source.as_ref());
        let Some(Source::Directory(directory)) = mount else { return self.yard.run(&self.train, &results, false) };
        for (path, content) in results {
            let file = Path::new(directory).join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, content).unwrap();
        }
    }

    #[track_caller]
    fn completes(&self, run: &PreRunOutcome) {
        self.run(run);
        self.is_completed(&self.station.post_run(&run.run_id).unwrap());
    }

    #[track_caller]
    fn is_completed(&self, closed: &stationmaster_proto::PostRunOutcome) {
        assert!(closed.plaintext_held_by.is_empty(), "{closed:?}");
        assert_eq!(closed.image_id, format!("{}@{}", self.train.repository, self.latest()));
        assert_eq!(self.yard.tags(&self.train).len(), 2, "images are left");
        assert_eq!(self.yard.blobs(&self.train), self.yard.needed(&self.train), "blobs are left");
        self.holds_nothing();
        self.yard.give(&self.train);
        let opened = self.train.open(&[]);
        assert_eq!((opened.stops_signed, opened.files), (1, self.train.expected_results(1)));
    }
}

/// One kill, with all that must hold after it.
#[track_caller]
fn kill(step: Step, point: &str, into: OpenInto) {
    let row = POINTS.iter().chain(&OF_LAYOUTS).find(|row| (row.0, row.1) == (point, step));
    let done = row.expect("a point that the table knows");
    let done = done.3.iter().any(|mode| mode.place() == into);
    match step {
        Step::PreRun => {
            let mut doomed = Doomed::new(into);
            doomed.dies_at(point);
            let answer = doomed.open();
            died(&mut doomed.station, answer);
            let named = doomed.latest() != doomed.before.0["latest"];
            assert_eq!(named, done && into == OpenInto::Image, "whether the name stands for the opened image");
            doomed.starts_again();
            if !done {
                doomed.is_untouched();
            }
            let run = doomed.open().unwrap();
            assert_eq!(run.repeated_answer, done, "whether what was done is done again");
            doomed.completes(&run);
        }
        Step::PostRun => {
            let mut doomed = Doomed::new(into);
            let run = doomed.open().unwrap();
            doomed.dies_at(point);
            doomed.run(&run);
            let ran = doomed.latest();
            let answer = doomed.station.post_run(&run.run_id);
            died(&mut doomed.station, answer);
            assert_eq!(doomed.latest() != ran, done, "whether the name stands for the sealed image");
            doomed.starts_again();
            if done {
                doomed.holds_nothing();
            }
            let closed = doomed.station.post_run(&run.run_id).unwrap();
            assert_eq!(closed.repeated_answer, done, "whether what was done is done again");
            doomed.is_completed(&closed);
        }
        Step::Abort => {
            let mut doomed = Doomed::new(into);
            let run = doomed.open().unwrap();
            doomed.dies_at(point);
            let answer = doomed.station.abort(&run.run_id);
            died(&mut doomed.station, answer);
            doomed.starts_again();
            doomed.is_untouched();
            let run = doomed.open().unwrap();
            doomed.completes(&run);
        }
        Step::Mending => {
            let mut doomed = Doomed::new(into);
            doomed.dies_at("pre-run/loaded");
            let answer = doomed.open();
            died(&mut doomed.station, answer);
            doomed.station.set_env(CRASH_AT, Some(point));
            doomed.station.spawn();
            is_dead(&mut doomed.station);
            doomed.starts_again();
            doomed.is_untouched();
            let run = doomed.open().unwrap();
            doomed.completes(&run);
        }
    }
}

macro_rules! sample {
    ($($name:ident $step:ident $point:literal $into:ident,)*) => {
        /// The points that every test run comes to.
        pub const SAMPLED: &[&str] = &[$($point,)*];

        $(#[test]
        fn $name() {
            kill(Step::$step, $point, OpenInto::$into);
        })*
    };
}

sample! {
    pre_run_in_a_layout_killed_after_it_announced_the_image PreRun "pre-run/announced" Image,
    pre_run_in_a_layout_killed_when_the_image_is_there PreRun "pre-run/loaded" Image,
    pre_run_in_a_layout_killed_while_its_blobs_get_their_names PreRun "layout/half" Image,
    pre_run_in_a_layout_killed_after_it_moved_the_name PreRun "pre-run/tagged" Image,
    pre_run_of_a_layout_killed_after_it_recorded_a_directory PreRun "pre-run/recorded" Directory,
    post_run_in_a_layout_killed_while_its_blobs_get_their_names PostRun "layout/half" Image,
    post_run_in_a_layout_killed_when_its_blobs_are_there PostRun "layout/blobs" Image,
    post_run_of_a_layout_killed_before_its_index_is_there PostRun "layout/index" Directory,
    post_run_of_a_layout_killed_after_it_removed_blobs PostRun "layout/removed" Image,
    post_run_in_a_layout_killed_while_it_wipes PostRun "wipe/image" Image,
    post_run_in_a_layout_killed_while_it_lets_go PostRun "release/half" Image,
    post_run_of_a_layout_killed_while_it_removes_blobs PostRun "layout/removing" Image,
    abort_in_a_layout_killed_while_it_removes_blobs Abort "layout/removing" Image,
    a_start_killed_while_it_mends_a_layout Mending "layout/removing" Image,
}

/// Every point that a step comes to, `STATIONMASTER_SOAK_ROUNDS` times (default 5).
#[test]
#[ignore = "minutes and more: `make soak` runs it"]
fn kills_at_every_point_of_steps_in_layouts() {
    let mut failures = Vec::new();
    for round in 1..=soak_rounds() {
        for &(point, step, modes, _) in POINTS.iter().chain(&OF_LAYOUTS) {
            for into in [OpenInto::Image, OpenInto::Directory] {
                if modes.iter().any(|mode| mode.place() == into) {
                    let what = format!("round {round}: {step:?} at {point}, {into:?}, in a layout");
                    if catch_unwind(AssertUnwindSafe(|| kill(step, point, into))).is_err() {
                        failures.push(what);
                    }
                }
            }
        }
        println!("kills in layouts: round {round}, {} kills, {} failures", KILLS.get(), failures.len());
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
