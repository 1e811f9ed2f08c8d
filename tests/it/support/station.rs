//! A station's service as a child process, with its files and its client.

mod client;
mod configuration;
mod launch;
mod process;
mod token;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

pub use self::{
    client::outcome,
    configuration::{listen_on_tcp, pinned, set, whole_images},
    launch::Launch,
};
use super::Seat;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_stationmaster");

/// A station's service. It ends, and its directory goes, when this is dropped.
pub struct Station {
    launch: Launch,
    child: Option<Child>,
    /// Where the next start's standard error goes, in place of the log file.
    stderr: Option<std::os::fd::OwnedFd>,
    // Last: the process ends first.
    state: tempfile::TempDir,
}

impl Station {
    /// A development station, to be changed before it starts.
    pub fn with(id: &str) -> Launch {
        Launch::of(id)
    }

    /// A development station that serves.
    #[track_caller]
    pub fn start(id: &str) -> Self {
        Self::with(id).start()
    }

    /// Its id, also its train key's label.
    pub fn id(&self) -> &str {
        &self.launch.id
    }

    /// Its state directory.
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.state().join("api.sock")
    }

    /// Its place on a route.
    #[track_caller]
    pub fn seat(&self) -> Seat {
        Seat { id: self.launch.id.clone(), hex_pem: self.hex_pem() }
    }

    /// Its train key's public half, as routes carry it.
    #[track_caller]
    pub fn hex_pem(&self) -> String {
        self.key(self.id()).expect("the train key").public_key_hex_pem
    }

    /// The lines of `DIR/env`, by name.
    pub fn env(&self) -> BTreeMap<String, String> {
        let text = fs::read_to_string(self.state().join("env")).expect("the env file of a station that serves");
        let line = |line: &str| {
            let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
            Some((name.to_owned(), value.trim_matches('\'').replace(r"'\''", "'")))
        };
        text.lines().map(|text| line(text).unwrap_or_else(|| panic!("{text:?} in the env file"))).collect()
    }

    /// The program, as a client of this station at its Unix socket, with or without an env file.
    pub fn socket_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.env("STATIONMASTER_ADDRESS", format!("unix://{}", self.socket().display())).args(arguments).stdin(Stdio::null());
        command
    }

    /// The program, as a client of this station.
    pub fn client_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.envs(self.env()).args(arguments).stdin(Stdio::null());
        command
    }

    /// Generates a key in its token with `key generate`, as an administrator does.
    #[track_caller]
    pub fn generate_key(&self, label: &str, purpose: &str, key_type: &str) -> serde_json::Value {
        let state = self.state().to_str().expect("UTF-8").to_owned();
        let arguments =
            ["--output", "json", "key", "generate", label, "--purpose", purpose, "--type", key_type, "--state", &state];
        let done = Command::new(PROGRAM).env("SOFTHSM2_CONF", self.softhsm_conf()).args(arguments).output().expect(PROGRAM);
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{arguments:?}: {said}");
        serde_json::from_str(said.lines().last().expect("a line")).expect("JSON")
    }

    /// SoftHSM's configuration that names its private token.
    pub fn softhsm_conf(&self) -> PathBuf {
        self.state().join("softhsm/softhsm2.conf")
    }

    /// The token's PIN.
    pub fn pin(&self) -> String {
        fs::read_to_string(self.state().join("pin")).expect("the PIN").trim_end().to_owned()
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if self.state().join("instance").exists() {
            crate::support::mounts::Beside::remove_volumes(self);
        }
        if std::thread::panicking() {
            eprintln!("--- log of station {} ---\n{}", self.launch.id, self.log());
        }
    }
}
