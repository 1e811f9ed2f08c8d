//! Two readers of one archive must not see two trains: what our reader of `/opt` lets through, Python's `tarfile` and the `archive/tar` of Go, which
//! engines have, read as the same entries. What ours refuses is refused; that is counted, too, so that a reader that refuses everything does not pass.

use std::{
    collections::HashMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
};

use serde_json::{Value, json};
use stationmaster_image::{
    ImageError,
    opt::{
        reader::{TrainTreeSink, read_opt},
        train_dirs::TrainDir,
    },
    tar::{
        entry::FileAttrs,
        layer_writer::{LayerPlan, write_archive},
    },
};
use stationmaster_train::{digest::FileHasher, names::FilePath};

use crate::parsers::{random::Random, seeds, tar_shape};

/// Archives that are compared; the long form (`make fuzz`) asks for more.
const ARCHIVES: usize = 24_000;
const LONGER: &str = "STATIONMASTER_TARFILE_ARCHIVES";
/// Archives that one process is given.
const HANDFUL: usize = 4_000;
const LONGEST: usize = 64 * 1024;
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/differential/tarfile_peer.py");

const GO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/differential/tarfile_peer.go");

/// Lists what the reader lets through, as the peer does.
#[derive(Default)]
struct Entries {
    found: Vec<Value>,
    open: Option<FileHasher>,
}

impl Entries {
    fn add(&mut self, area: TrainDir, path: Option<&FilePath>, kind: &str, size: u64, meta: FileAttrs) {
        let name = path.map_or(area.path().to_owned(), |path| format!("{}/{path}", area.path()));
        self.found.push(json!([const_hex::encode(name), kind, size, null, meta.mode, meta.uid, meta.gid]));
    }
}

impl TrainTreeSink for Entries {
    type Error = ImageError;

    fn directory(&mut self, area: TrainDir, path: Option<FilePath>, meta: FileAttrs) -> Result<(), ImageError> {
        self.add(area, path.as_ref(), "directory", 0, meta);
        Ok(())
    }

    fn begin(&mut self, area: TrainDir, path: FilePath, meta: FileAttrs, size: u64) -> Result<(), ImageError> {
        self.add(area, Some(&path), "file", size, meta);
        self.open = Some(FileHasher::new());
        Ok(())
    }

    fn chunk(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.open.as_mut().expect("a file is open").update(bytes);
        Ok(())
    }

    fn end(&mut self) -> Result<(), ImageError> {
        let digest = self.open.take().expect("a file is open").finish();
        self.found.last_mut().expect("a file is open")[3] = digest.to_hex().into();
        Ok(())
    }
}

fn ours(archive: &[u8]) -> Option<Value> {
    let mut entries = Entries::default();
    read_opt(archive, &mut entries).ok().map(|_| entries.found.into())
}

fn python() -> Command {
    // The interpreter is what counts here, not what is installed for it.
    let mut command = Command::new(std::env::var_os("STATIONMASTER_PEER_205").unwrap_or_else(|| "python3".into()));
    command.arg(SCRIPT);
    command
}

/// Go's reader, built once.
fn go() -> Command {
    static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let program = place.join("tarfile-peer-go");
        let mut build = Command::new("go");
        build.arg("build").arg("-o").arg(&program).arg(GO).env("GOCACHE", place.join("go-cache")).env("GOFLAGS", "-mod=mod");
        let built = build.output().expect("Go (Debian: golang-go)");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        program
    });
    Command::new(BUILT.as_path())
}

/// One answer of a peer for each archive.
fn theirs(mut peer: Command, archives: &[Vec<u8>]) -> Vec<Value> {
    let mut child = peer.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the peer starts");
    let mut stdin = child.stdin.take().expect("piped");
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            for archive in archives {
                stdin.write_all(&(archive.len() as u64).to_be_bytes()).expect("the peer reads");
                stdin.write_all(archive).expect("the peer reads");
            }
        });
        child.wait_with_output().expect("the peer answers")
    });
    assert!(output.status.success(), "the peer failed");
    let answers: Vec<Value> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(answers.len(), archives.len());
    answers
}

/// Archives by Python's writer, in its three formats.
fn written_by_python(seed: u64, count: usize) -> Vec<Vec<u8>> {
    let output = python().args(["make", &seed.to_string(), &count.to_string()]).output().expect("Python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut archives = Vec::new();
    let mut rest = &output.stdout[..];
    while let Some((len, after)) = rest.split_first_chunk::<8>() {
        let (archive, after) = after.split_at(u64::from_be_bytes(*len) as usize);
        archives.push(archive.to_vec());
        rest = after;
    }
    archives
}

/// An archive by the writer of our layers.
fn written_by_us(random: &mut Random) -> Vec<u8> {
    let mut plan = LayerPlan::default();
    let meta = |random: &mut Random| FileAttrs {
        mode: [0o644, 0o755, 0o1777][random.below(3)],
        uid: [0, 1000, 3_000_000_000][random.below(3)],
        gid: [0, 65_534][random.below(2)],
        mtime: 1,
    };
    for area in [TrainDir::Results, TrainDir::Train] {
        plan.directory(area.path(), meta(random), false);
        for number in 0..random.below(6) {
            let long = "n".repeat([1, 80, 90, 200][random.below(4)]);
            let size = [0, 1, 511, 512, 513, 1500][random.below(6)];
            plan.file(format!("{}/{number}{long}", area.path()), meta(random), size, size);
        }
    }
    let mut out = Vec::new();
    let content = |size: &u64, each: &mut dyn FnMut(&[u8]) -> Result<(), ImageError>| each(&vec![b'c'; *size as usize]);
    write_archive(&mut out, &plan, content).unwrap();
    out
}

/// Compares; answers how many were equal. What is honest must not be refused.
fn compare(archives: &[Vec<u8>], honest: bool) -> usize {
    let mut equal = 0;
    let mut python = python();
    python.arg("read");
    let answers = theirs(python, archives).into_iter().zip(theirs(go(), archives));
    for (archive, (python, go)) in archives.iter().zip(answers) {
        let ours = ours(archive);
        let refused_honest = honest && ours.is_none();
        let differs = |theirs: &Value| ours.as_ref().is_some_and(|ours| *ours != theirs["entries"]);
        // Go refuses more than we do: an engine then has no image at all.
        if differs(&python) || differs(&go) && (honest || go["error"].is_null()) || refused_honest {
            let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tarfile-difference.tar");
            fs::write(&place, archive).unwrap();
            panic!("two readers see two things in {}:\nours   {ours:?}\nPython {python}\nGo     {go}", place.display());
        }
        equal += usize::from(ours.is_some());
    }
    equal
}

#[test]
fn what_we_let_through_python_and_go_read_as_the_same() {
    let count = std::env::var(LONGER).map_or(ARCHIVES, |count| count.parse().expect("a number of archives"));
    let mut random = Random::new(5);
    let mut sums: HashMap<&str, usize> = HashMap::new();
    let mut add = |what, more| *sums.entry(what).or_default() += more;
    let seeds = seeds::opt_archives();
    add("equal", compare(&seeds, false));
    add("archives", seeds.len());
    for round in 0..(count.div_ceil(HANDFUL) as u64) {
        let mut honest = written_by_python(round, HANDFUL / 20);
        honest.extend((0..HANDFUL / 20).map(|_| written_by_us(&mut random)));
        let equal = compare(&honest, true);
        assert_eq!(equal, honest.len(), "honest archives are let through");
        let mutated: Vec<Vec<u8>> = (0..HANDFUL - honest.len())
            .map(|_| {
                let from = if random.below(3) == 0 { &seeds } else { &honest };
                let mut archive = from[random.below(from.len())].clone();
                tar_shape::mutate(&mut archive, &mut random, LONGEST);
                archive
            })
            .collect();
        add("archives", honest.len() + mutated.len());
        add("honest", honest.len());
        add("equal", equal + compare(&mutated, false));
    }
    let (archives, equal, honest) = (sums["archives"], sums["equal"], sums["honest"]);
    assert!(equal > honest + (archives - honest) / 20, "only {equal} of {archives} were let through");
    let line = format!(
        "tarfile: {archives} archives ({honest} honest), {equal} read alike, {} refused; differences 0",
        archives - equal
    );
    println!("{line}");
    crate::steps::run_totals::note("tarfile", &line);
}
