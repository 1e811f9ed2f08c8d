//! One row of a catalogue, and what is held against it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use crate::support::{
    PROGRAM, Refusal, Station,
    proxied::Proxied,
    tamper::{Before, Rootfs, Scene, run_script},
};

/// No input may make the service grow by more than this above its idle level, in KiB: the promise that [`crate::server::memory`] tests.
const BOUND_KIB: u64 = 64 * 1024;
/// Part of every name by which an input tries to reach outside.
pub const CANARY: &str = "stationmaster-hostile-canary";

/// What must become of an input.
#[derive(Clone, Copy, Debug)]
pub enum Expected {
    /// Refused for this reason.
    Refused(&'static str),
    /// Refused for this rule (`IMAGE_POLICY_VIOLATION`).
    Rule(&'static str),
    /// Refused for the one or the other: which one, a part of the service decides that is no concern of the row.
    Either(&'static str, &'static str),
    /// Taken, for the reason given: the row shows what keeps it harmless.
    Taken(&'static str),
}

impl Expected {
    /// Why an input is taken.
    fn why(self) -> &'static str {
        if let Self::Taken(why) = self { why } else { "" }
    }
}

/// What became of an input.
pub struct Became {
    case: String,
    /// Why it was taken; empty where it was refused.
    taken: &'static str,
    time: Duration,
    /// Peak of memory above idle so far, in KiB.
    memory: u64,
}

/// What was measured over a catalogue.
pub struct Tally {
    idle: u64,
    inputs: Vec<Became>,
    classes: BTreeSet<u32>,
    elsewhere: BTreeMap<u32, &'static str>,
}

impl Tally {
    /// Starts with the service at rest.
    pub fn start(station: &Station) -> Self {
        Self { idle: station.memory_kib("VmRSS"), inputs: Vec::new(), classes: BTreeSet::new(), elsewhere: BTreeMap::new() }
    }

    /// A class that cannot be judged where the rows are, and why.
    pub fn elsewhere(&mut self, class: u32, why: &'static str) {
        assert!(why.len() > 20);
        self.elsewhere.insert(class, why);
    }

    /// Notes an input that was judged.
    pub fn note(&mut self, station: &Station, class: u32, case: &str, taken: &'static str, time: Duration) {
        let memory = station.memory_kib("VmHWM").saturating_sub(self.idle);
        if memory > self.inputs.last().map_or(0, |one| one.memory) + 2048 {
            eprintln!("memory rose to {memory} KiB above idle: {class} {case}");
        }
        self.classes.insert(class);
        self.inputs.push(Became { case: format!("{class} {case}"), taken, time, memory });
        assert!(memory <= BOUND_KIB, "{class} {case}: {memory} KiB above the idle level");
    }

    /// All classes are there; says what was counted and measured.
    pub fn close(&self, what: &str, classes: u32, least: usize) {
        let missing: Vec<u32> =
            (1..=classes).filter(|class| !self.classes.contains(class) && !self.elsewhere.contains_key(class)).collect();
        assert!(missing.is_empty(), "no row for {missing:?}");
        assert!(self.inputs.len() >= least, "only {} inputs", self.inputs.len());
        for (class, why) in &self.elsewhere {
            eprintln!("{what} {class} is not judged here: {why}");
        }
        let taken: Vec<&Became> = self.inputs.iter().filter(|one| !one.taken.is_empty()).collect();
        for one in &taken {
            eprintln!("{what} taken: {:.60}: {}", one.case, one.taken);
        }
        // The peak only rises: the largest step is the input that took most.
        let peak = self.inputs.iter().map(|one| one.memory).max().unwrap_or(0);
        let steps = self.inputs.windows(2).max_by_key(|pair| pair[1].memory.saturating_sub(pair[0].memory));
        let made = &steps.expect("two inputs")[1];
        let longest = self.inputs.iter().max_by_key(|one| one.time).expect("an input");
        eprintln!(
            "{what}: {classes} classes ({} not judged here), {} inputs, refused {}, taken as they should be {}, failures 0, most memory {:.1} MiB (most of it: {}), \
             longest {:.2} s ({})",
            self.elsewhere.len(),
            self.inputs.len(),
            self.inputs.len() - taken.len(),
            taken.len(),
            peak as f64 / 1024.0,
            made.case,
            longest.time.as_secs_f64(),
            longest.case,
        );
    }
}

/// The stage: a station behind a proxy, a train, and all that must stay as it is.
pub struct Stage {
    pub proxied: Proxied,
    /// An image of two layers, to be saved.
    pub layered: String,
    before: Before,
    files: BTreeSet<PathBuf>,
    pub tally: Tally,
}

impl Stage {
    /// Sets it. The service has opened a train before: what it needs once is not counted against an input.
    pub fn set() -> Self {
        let proxied = Proxied::start();
        let run = proxied.scene.pre_run().expect("the true train is opened");
        proxied.scene.station.abort(&run.run_id).expect("it is aborted");
        forget_session(&proxied.scene);
        let (train, engine) = (&proxied.scene.train, &proxied.scene.engine);
        let layered = format!("{}:layered", train.repository);
        engine.tag(&engine.find(&train.base).expect("the base"), &train.repository, "layered");
        run_script(engine, &layered, "echo layer > /layer");
        let before = Before::of(&proxied.scene.engine, &proxied.scene.train);
        let files = listing(proxied.scene.station.state());
        let tally = Tally::start(&proxied.scene.station);
        Self { proxied, layered, before, files, tally }
    }

    pub fn scene(&self) -> &Scene {
        &self.proxied.scene
    }

    /// Makes one pre-run and holds its outcome against what is expected; everything else must be as before.
    #[track_caller]
    pub fn judge(&mut self, class: u32, case: &str, expected: Expected) -> Option<stationmaster_proto::PreRunOutcome> {
        let image = self.scene().train.image.clone();
        self.judge_call(class, case, expected, |station| station.pre_run(&image))
    }

    /// As [`Stage::judge`], of another way to open the train.
    #[track_caller]
    pub fn judge_call(
        &mut self,
        class: u32,
        case: &str,
        expected: Expected,
        call: impl FnOnce(&Station) -> Result<stationmaster_proto::PreRunOutcome, Refusal>,
    ) -> Option<stationmaster_proto::PreRunOutcome> {
        let begun = Instant::now();
        let answer = call(&self.scene().station);
        let time = begun.elapsed();
        let outcome = match (answer, expected) {
            (Ok(outcome), Expected::Taken(_)) => {
                left_behind(self.scene(), class, case, &outcome);
                self.scene().station.abort(&outcome.run_id).expect("it is aborted");
                forget_session(self.scene());
                Some(outcome)
            }
            (Ok(_), _) => panic!("{class} {case}: it was not refused, but must be: {expected:?}"),
            (Err(refusal), _) => {
                matches(&format!("{class} {case}"), &refusal, expected);
                None
            }
        };
        self.unchanged(class, case);
        self.proxied.proxy.take_replies();
        self.tally.note(&self.proxied.scene.station, class, case, expected.why(), time);
        outcome
    }

    /// Waits until a call that was given up has cleaned up.
    #[track_caller]
    pub fn settle(&self) {
        self.proxied.as_it_was(&self.before);
    }

    /// Engine and disk are as they were, and the service serves.
    #[track_caller]
    pub fn unchanged(&self, class: u32, case: &str) {
        let scene = self.scene();
        self.before.assert(&scene.station, &format!("{class} {case}"));
        let files = listing(scene.station.state());
        assert_eq!(files, self.files, "{class} {case}: files in the state directory");
        assert_eq!(scene.station.health().as_deref().ok(), Some("SERVING"), "{class} {case}");
    }

    /// Nothing that an input named outside is there, no container was ever started, and the true train is opened.
    pub fn close(self, what: &str, classes: u32, least: usize) {
        let scene = self.scene();
        let near = [Path::new("/"), Path::new("/opt"), Path::new("/tmp"), Path::new("."), scene.station.state()];
        for directory in near.into_iter().filter(|directory| directory.exists()) {
            for entry in std::fs::read_dir(directory).expect("a directory") {
                let name = entry.expect("an entry").file_name();
                assert!(!name.to_string_lossy().contains(CANARY), "{} was reached", directory.display());
            }
        }
        let started = self.proxied.proxy.requests().iter().filter(|line| line.contains("/start")).count();
        assert_eq!(started, 0, "a container was started");
        scene.still_works();
        self.tally.close(what, classes, least);
    }
}

/// Lets the next input be the first of the train's session that the service sees: what binds a session has tests of its own, and would
/// refuse an input before the check that its row is about.
#[track_caller]
fn forget_session(scene: &Scene) {
    let session = const_hex::encode(scene.train.session_id());
    let mut command = Command::new(PROGRAM);
    command.args(["run", "forget-session", &session, "--reason", "the next input", "--state"]).arg(scene.station.state());
    let done = command.output().expect("the program");
    // 3: the input was of another session.
    assert!([Some(0), Some(3)].contains(&done.status.code()), "{}", String::from_utf8_lossy(&done.stderr));
}

/// Nothing of set-id bits, attributes or links is in what was opened into an image, whatever came.
#[track_caller]
fn left_behind(scene: &Scene, class: u32, case: &str, outcome: &stationmaster_proto::PreRunOutcome) {
    if class != 37 {
        return;
    }
    for (path, mode, has_attributes) in Rootfs::of(&scene.engine, &outcome.image_id).code() {
        assert!(mode & 0o7000 == 0 && !has_attributes, "{class} {case}: {path} is {mode:o}");
    }
}

/// Whether a refusal is the one that was expected.
#[track_caller]
pub fn matches(case: &str, refusal: &Refusal, expected: Expected) {
    let is = match expected {
        Expected::Refused(reason) => refusal.reason == reason,
        Expected::Either(one, other) => refusal.reason == one || refusal.reason == other,
        Expected::Rule(rule) => {
            refusal.reason == "IMAGE_POLICY_VIOLATION" && refusal.metadata.get("rule").is_some_and(|name| name == rule)
        }
        Expected::Taken(_) => false,
    };
    assert!(is, "{case}: {expected:?} was expected, and it was {refusal:?}");
    assert!(refusal.message.is_ascii() && !refusal.message.contains(CANARY), "{case}: the message repeats the input");
}

/// Every path below a directory, but for what SQLite makes and takes away.
fn listing(directory: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(path.clone());
            }
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if !(name.ends_with("-wal") || name.ends_with("-shm") || name.ends_with("-journal")) {
                found.insert(path);
            }
        }
    }
    found
}
