//! How a service is started.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{Station, pinned, token};

/// How a service is to be started.
#[derive(Clone, Debug)]
pub struct Launch {
    pub(super) id: String,
    pub(super) bits: u32,
    pub(super) arguments: Vec<String>,
    pub(super) environment: BTreeMap<String, String>,
    /// `serve --config` in place of `serve --dev`.
    pub(super) config: Option<PathBuf>,
    /// Its images are layouts below this directory, and there is no engine.
    pub(super) layouts: Option<PathBuf>,
    pub(super) umask: Option<u32>,
    /// Its first start makes the token.
    makes_token: bool,
}

impl Launch {
    /// As a development station.
    pub(super) fn of(id: &str) -> Self {
        // Files that decide who is admitted are refused where a group may write them: tests write them as an administrator does.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        Self {
            id: id.to_owned(),
            bits: 2048,
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            config: None,
            layouts: None,
            umask: None,
            makes_token: false,
        }
    }

    /// With a token that its own first start makes, in place of one that an earlier test's start made.
    pub fn makes_token(mut self) -> Self {
        self.makes_token = true;
        self
    }

    /// With a train key of this size; the default is 2048, which is made fastest.
    pub fn bits(mut self, bits: u32) -> Self {
        self.bits = bits;
        self
    }

    /// Without an engine: its images are layouts below a directory.
    pub fn layouts(mut self, directory: &Path) -> Self {
        self.layouts = Some(directory.to_owned());
        self.environment.insert("DOCKER_HOST".into(), "unix:///nowhere".into());
        self
    }

    /// With this umask.
    pub fn umask(mut self, umask: u32) -> Self {
        self.umask = Some(umask);
        self
    }

    /// With one more environment variable.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    /// Starts it and waits until it serves.
    #[track_caller]
    pub fn start(self) -> Station {
        // Closed to others: the log in it is there before the service's first start, which takes no directory of another kind that is open.
        let closed = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        let state = tempfile::Builder::new().permissions(closed).tempdir().expect("a directory");
        // What a start writes under another umask is what that test is about.
        if !self.makes_token && self.umask.is_none() {
            token::put_into(state.path(), &self.id, self.bits);
        }
        let mut station = Station { state, launch: self, child: None, stderr: None };
        station.start_again();
        station
    }

    /// Starts the station with a trust file that has no keys yet; [`Station::trust_train`] adds them.
    #[track_caller]
    pub fn start_pinned(self) -> Station {
        self.start_pinned_and(|_| {})
    }

    /// The same, with its configuration as `change` leaves it.
    #[track_caller]
    pub fn start_pinned_and(self, change: impl FnOnce(&mut toml::Table)) -> Station {
        let mut station = self.start();
        station.stop();
        station.edit_trust(|_| {});
        station.configure(|config| {
            pinned(config);
            change(config);
        });
        station.start_again();
        station
    }

    /// Starts it with a configuration file in place of `--dev`: the one that `--dev` amounts to (less TCP), as `change` leaves
    /// it. The token and its keys are made by a `--dev` start before.
    #[track_caller]
    pub fn start_configured(self, change: impl FnOnce(&mut toml::Table)) -> Station {
        let mut station = self.start();
        station.stop();
        station.configure(change);
        station.start_again();
        station
    }
}
