//! A large image of many files: `hash` and `image validate` of it beside the engine's own export and train_lib's validation.

use std::{path::Path, process::Command};

use stationmaster::trust::Master;
use stationmaster_image::tar::{entry::FileAttrs, layer_writer::LayerPlan};

use crate::{
    engine::Engine,
    modes::FLOOR,
    options::Options,
    payload::random_archive,
    process,
    record::{Case, Cost},
    second::{PROGRAM, Second},
    steps::WHOLE,
    support::{self, Peer},
};

/// Who reads: the service, twice; the command line alone; train_lib.
pub const HASH: &str = "stationmaster hash";
/// As [`HASH`].
pub const VALIDATE: &str = "stationmaster image validate";
/// As [`HASH`].
pub const OFFLINE: &str = "stationmaster hash --place";
/// As [`HASH`].
pub const TRAIN_LIB: &str = "train_lib validate_train_image";

/// Rounds of train_lib: each takes as long as ten of ours.
const TRAIN_LIB_ROUNDS: usize = 2;
/// Files of one directory.
const PER_DIRECTORY: u64 = 100;

/// What an image is filled with: some big files, and many small ones.
struct Filling {
    big: u64,
    big_bytes: u64,
    small: u64,
    small_bytes: u64,
}

impl Filling {
    const LARGE: Self = Self { big: 20, big_bytes: 60_000_000, small: 29_980, small_bytes: 26_684 };
    const SHORT: Self = Self { big: 2, big_bytes: 600_000, small: 28, small_bytes: 26_684 };

    fn files(&self) -> u64 {
        self.big + self.small
    }

    fn bytes(&self) -> u64 {
        self.big * self.big_bytes + self.small * self.small_bytes
    }

    fn plan(&self) -> LayerPlan<'static, ()> {
        let mut plan = LayerPlan::default();
        plan.directory("srv", FileAttrs::directory(1), false);
        let mut file = |number: u64, size: u64| {
            let directory = format!("srv/d{:04}", number / PER_DIRECTORY);
            if number.is_multiple_of(PER_DIRECTORY) {
                plan.directory(directory.clone(), FileAttrs::directory(1), false);
            }
            plan.file(format!("{directory}/f{number:06}"), FileAttrs::immutable_file(1), size, ());
        };
        (0..self.big).for_each(|number| file(number, self.big_bytes));
        (self.big..self.files()).for_each(|number| file(number, self.small_bytes));
        plan
    }
}

/// A large master and an image made on it, which go when this is dropped.
struct Images {
    engine: support::Engine,
    /// Of all of them but the master.
    repository: String,
    /// The master's: the trust file allows a repository.
    master: String,
}

impl Images {
    fn make(filling: &Filling) -> Self {
        let engine = support::Engine::connect();
        let repository = format!("stationmaster-bench/{}", uuid::Uuid::now_v7().simple());
        let images = Self { engine, master: format!("{repository}-master"), repository };
        // train_lib takes an `/opt` that the master has not for a difference.
        let small = [("opt", None), ("etc", None), ("etc/name", Some("small"))];
        images.engine.import(small_archive(&small), &images.repository, "small");
        let bench = Engine::connect();
        bench.lay(&images.small(), "/", random_archive(&filling.plan()), [&images.master, "large"]);
        let train = [("opt", None), ("opt/pht_train", None), ("opt/pht_train/run.py", Some("print()"))];
        let train = std::iter::once(Ok(small_archive(&train).into()));
        bench.lay(&format!("{}:large", images.master), "/", train, [&images.repository, "large"]);
        rustix::fs::sync();
        images
    }

    fn small(&self) -> String {
        format!("{}:small", self.repository)
    }

    fn large(&self) -> String {
        format!("{}:large", self.repository)
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        self.engine.remove_all(&self.repository);
    }
}

/// An archive of directories, and of files with a text.
fn small_archive(entries: &[(&str, Option<&str>)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, text) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(if text.is_some() { tar::EntryType::Regular } else { tar::EntryType::Directory });
        header.set_mode(if text.is_some() { 0o644 } else { 0o755 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        let text = text.unwrap_or_default().as_bytes();
        header.set_size(text.len() as u64);
        archive.append_data(&mut header, path, text).expect("memory");
    }
    archive.into_inner().expect("memory")
}

/// Measures all of them in turn.
pub fn measure(options: &Options) -> Case {
    let filling = if options.short { Filling::SHORT } else { Filling::LARGE };
    let mut case = Case::new(name(&filling), filling.bytes(), filling.files());
    eprintln!("{}: making the image", case.name);
    let images = Images::make(&filling);
    let mut second = Second::allowing(Master::parse(&images.master, None).expect("a repository"));
    let engine = Engine::connect();
    let directory = tempfile::tempdir().expect("a directory");
    let saved = directory.path().join("saved.tar");
    engine.save_to(&images.large(), &saved);
    rustix::fs::sync();
    for round in 0..options.large_rounds() {
        eprintln!("{}: round {}", case.name, round + 1);
        options.wait_for_quiet();
        // Beginning with another each round.
        for turn in 0..4 {
            match (turn + round) % 4 {
                0 => case.add(FLOOR, WHOLE, engine.save(&images.large())),
                1 => case.add(HASH, WHOLE, served(&mut second, &images, &["hash"])),
                2 => case.add(VALIDATE, WHOLE, served(&mut second, &images, &["image", "validate"])),
                _ => case.add(OFFLINE, WHOLE, offline(&saved)),
            }
        }
        if round < TRAIN_LIB_ROUNDS {
            case.add(TRAIN_LIB, WHOLE, train_lib(&engine, &images));
        }
    }
    case
}

/// What there is in the image, for tables.
fn name(filling: &Filling) -> String {
    let bytes = filling.bytes() as f64;
    let size = if bytes >= 1e9 { format!("{:.0} GB", bytes / 1e9) } else { format!("{:.0} MB", bytes / 1e6) };
    format!("{size} in {} files", filling.files())
}

/// By a service that has worked before, though not on this image: the first call of a process costs tens of milliseconds more.
fn served(second: &mut Second, images: &Images, command: &[&str]) -> Cost {
    second.start_anew();
    second.ours(&["hash", &images.small()]);
    second.ours(&[command, &[&images.large()]].concat()).0
}

fn offline(saved: &Path) -> Cost {
    cost(&process::run(Command::new(PROGRAM).args(["hash", "--output", "json", "--place"]).arg(saved)))
}

/// train_lib's validation of the same image against the same master; it must find that it holds, as ours does.
fn train_lib(engine: &Engine, images: &Images) -> Cost {
    let before = engine.cpu();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peer/validate.py");
    let master = format!("{}:large", images.master);
    let ended = process::run(
        Command::new(Peer::newest().python()).env("PYTHONDONTWRITEBYTECODE", "1").arg(script).args([&master, &images.large()]),
    );
    assert!(ended.output.contains("\"accepted\""), "train_lib says of the image: {}", ended.output);
    Cost { engine: engine.cpu().zip(before).map(|(after, before)| after - before), ..cost(&ended) }
}

/// Of a process that does it all by itself.
fn cost(ended: &process::Ended) -> Cost {
    Cost { wall: ended.wall, user: ended.cpu.user, system: ended.cpu.system, peak_mib: Some(ended.peak_mib), ..Cost::default() }
}
