//! The peers: train_lib stations, the run itself, the creator. Python, in a virtual environment for each version of train_lib.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

/// Where `peer.py` is.
const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peer");

/// A Python environment with one version of train_lib.
#[derive(Clone, Debug)]
pub struct Peer {
    python: PathBuf,
}

/// A step that a peer refused or failed, as its last line says.
#[derive(Clone, Debug)]
pub struct PeerError {
    /// The exception's class.
    pub error: String,
    /// Its text.
    pub message: String,
    /// The whole line, and what it wrote to stderr.
    pub answer: Value,
    /// What it wrote to stderr.
    pub log: String,
}

/// What becomes of a container after the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is committed.
    Commit,
    /// Three of its paths are carried onto the train's base, as a station's workflow does.
    Dag,
}

impl Peer {
    /// The peer of a version: "2.0.5" or "2.0.6a0".
    pub fn new(version: &str) -> Self {
        let variable = match version {
            "2.0.5" => "STATIONMASTER_PEER_205",
            "2.0.6a0" => "STATIONMASTER_PEER_206",
            other => panic!("no peer with train_lib {other}"),
        };
        let python = std::env::var_os(variable)
            .unwrap_or_else(|| panic!("{variable} names no Python with train_lib {version}: run `make test`, which makes one"));
        Self { python: python.into() }
    }

    /// The peer for what does not depend on the version: runs, and the creator's side.
    pub fn newest() -> Self {
        Self::new("2.0.6a0")
    }

    /// Its Python.
    pub fn python(&self) -> &Path {
        &self.python
    }

    /// Runs `peer.py` (or another script beside it) and reads the JSON line it ends with.
    pub fn script<S: AsRef<OsStr>>(&self, script: &str, arguments: impl IntoIterator<Item = S>) -> Result<Value, PeerError> {
        let done = Command::new(&self.python)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(Path::new(PEER).join(script))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}: run `make test`, which makes it", self.python.display()));
        let log = String::from_utf8_lossy(&done.stderr).into_owned();
        let output = String::from_utf8_lossy(&done.stdout).into_owned();
        let line = output.lines().last().unwrap_or_default();
        let answer: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{script} wrote no JSON: {output}\n{log}"));
        if done.status.success() {
            return Ok(answer);
        }
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        Err(PeerError { error: text("error"), message: text("message"), log, answer })
    }

    /// Runs a command of `peer.py` that must succeed.
    #[track_caller]
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Value {
        self.script("peer.py", arguments).unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// A train_lib station with a key of its own, in `directory`.
    #[track_caller]
    pub fn station(&self, id: &str, bits: u32, directory: &Path) -> LibStation {
        let key = directory.join(format!("{id}.pem"));
        let made =
            self.run([OsStr::new("make-key"), "--bits".as_ref(), bits.to_string().as_ref(), "--out".as_ref(), key.as_ref()]);
        let hex_pem = made["public_key_hex_pem"].as_str().expect("a public key").to_owned();
        LibStation { peer: self.clone(), id: id.to_owned(), key, hex_pem, config: directory.join(format!("{id}.config.json")) }
    }

    /// Runs a train that is open: its algorithm, without a network, and what `mode` makes of its container.
    #[track_caller]
    pub fn run_train(&self, image: &str, mode: Mode, environment: &[&str]) -> Value {
        let mode = match mode {
            Mode::Commit => "commit",
            Mode::Dag => "dag",
        };
        let settings = environment.iter().flat_map(|setting| ["--env", setting]);
        self.run(["run-train", "--image", image, "--mode", mode].into_iter().chain(settings))
    }

    /// Where in an image's layers (and its own JSON) any of these texts is to be found.
    #[track_caller]
    pub fn scan_layers(&self, image: &str, needles: &[&[u8]]) -> Vec<String> {
        let needles: Vec<String> = needles.iter().map(const_hex::encode).collect();
        let found = self.run(["layers-scan", "--image", image, "--needle"].into_iter().chain(needles.iter().map(String::as_str)));
        assert!(found["members"].as_u64().is_some_and(|members| members > 2), "nothing was scanned: {found}");
        found["hits"].as_array().expect("a list").iter().map(Value::to_string).collect()
    }
}

/// A station with train_lib's own security module.
#[derive(Clone, Debug)]
pub struct LibStation {
    peer: Peer,
    /// Its id.
    pub id: String,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Its public key as routes carry it.
    pub hex_pem: String,
    config: PathBuf,
}

impl LibStation {
    /// Opens a train.
    pub fn pre_run(&self, image: &str) -> Result<Value, PeerError> {
        self.step("pre-run", image, "--config-out")
    }

    /// Closes it, with the config of pre-run.
    pub fn post_run(&self, image: &str) -> Result<Value, PeerError> {
        self.step("post-run", image, "--config")
    }

    /// Closes it as the containerised protocol does unless told otherwise: every layer of the run stays below.
    pub fn post_run_without_rebase(&self, image: &str) -> Result<Value, PeerError> {
        let arguments = ["post-run", "--no-rebase", "--station", &self.id, "--image", image, "--key"].map(OsStr::new).into_iter();
        self.peer.script("peer.py", arguments.chain([self.key.as_os_str(), "--config".as_ref(), self.config.as_os_str()]))
    }

    /// Closes it as the containerised protocol does: with the config that the run left in the image.
    pub fn post_run_rereading(&self, image: &str) -> Result<Value, PeerError> {
        let arguments = ["post-run", "--reread", "--station", &self.id, "--image", image, "--key"].map(OsStr::new).into_iter();
        self.peer.script("peer.py", arguments.chain([self.key.as_os_str()]))
    }

    fn step(&self, step: &str, image: &str, config: &str) -> Result<Value, PeerError> {
        let named = [step, "--station", &self.id, "--image", image, "--key"].map(OsStr::new);
        let paths = [self.key.as_os_str(), OsStr::new(config), self.config.as_os_str()];
        self.peer.script("peer.py", named.into_iter().chain(paths))
    }
}
