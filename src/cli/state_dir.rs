//! Direct access to a station's state directory for administrators, without the service, which may be running.

use std::path::{Path, PathBuf};

use super::{
    admin_audit::{self, four_eyes},
    error::CliError,
};
use crate::{
    audit::Entry,
    config::Config,
    ledger::Ledger,
    server::{lock::Lock, state_directory},
    state,
};

/// Selects a state directory.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct StateDirArgs {
    /// The state directory that this configuration names
    #[arg(long, value_name = "FILE", env = "STATIONMASTER_CONFIG", help_heading = "State directory")]
    config: Option<PathBuf>,
    /// The state directory, instead of a configuration's [default: STATIONMASTER_STATE, which a development station's `env` sets]
    #[arg(long, value_name = "DIR", help_heading = "State directory")]
    state: Option<PathBuf>,
}

/// A state directory and the station that it belongs to.
pub(super) struct StateDir {
    pub directory: PathBuf,
    /// The station's id, if a configuration names it.
    pub station: Option<String>,
    /// The directory of its audit logs.
    pub audit: PathBuf,
    runtime: tokio::runtime::Runtime,
}

/// Returns the state directory that `. DIR/env` of a development station sets.
pub(super) fn state_variable() -> Option<PathBuf> {
    std::env::var_os("STATIONMASTER_STATE").map(PathBuf::from)
}

impl StateDirArgs {
    pub(super) fn open(&self) -> Result<StateDir, CliError> {
        // An explicit configuration takes precedence over a variable that a development station's `env` has set.
        let state = self.state.clone().or_else(|| self.config.is_none().then(state_variable).flatten());
        let (directory, station, audit) = match (&state, &self.config) {
            (Some(directory), _) => (directory.clone(), None, directory.join("audit")),
            (None, Some(file)) => {
                let config = Config::load(file)?;
                let audit = config.audit_directory();
                (config.state.directory, Some(config.station), audit)
            }
            (None, None) => {
                return Err(CliError::usage("no state directory is named: use --config FILE or --state DIR")
                    .with_hint("STATIONMASTER_CONFIG names the service's configuration for all commands, STATIONMASTER_STATE a development station's directory"));
            }
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| CliError::other(format!("cannot start: {error}")))?;
        Ok(StateDir { directory, station, audit, runtime })
    }

    /// Returns the configuration that decides whether an act on a directory needs a second officer, if one is named.
    ///
    /// # Errors
    /// When none is named, and the directory shows that its station has such acts.
    pub(super) fn guarding_config(&self, state_dir: &StateDir) -> Result<Option<Config>, CliError> {
        let named = self.config.as_ref().and_then(|config| Config::load(config).ok());
        let whole = |path: &Path| path.canonicalize().ok();
        let its = named.filter(|config| whole(&config.state.directory) == whole(&state_dir.directory));
        if its.is_none() {
            four_eyes::check_unconfigured(&state_dir.directory)?;
        }
        Ok(its)
    }

    /// Opens and locks the directory, for commands that exclude a running service; locked until the lock is dropped.
    pub(super) fn locked(&self) -> Result<(StateDir, Lock), CliError> {
        let state_dir = self.open()?;
        let lock = state_directory::lock_state_for_command(&state_dir.directory)?;
        Ok((state_dir, lock))
    }

    /// Opens the directory and its ledger.
    pub(super) fn ledger(&self) -> Result<(StateDir, Ledger), CliError> {
        let state_dir = self.open()?;
        let ledger = state_dir.ledger()?;
        Ok((state_dir, ledger))
    }
}

impl StateDir {
    /// Carries out an action, with a record of intent and outcome in the administrators' log.
    pub(super) fn carry_out<T, E: Into<CliError>>(
        &self,
        entry: Entry,
        action: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, CliError> {
        admin_audit::carry_out(&self.audit, entry, action)
    }

    pub(super) fn ledger(&self) -> Result<Ledger, CliError> {
        Ok(self.runtime.block_on(Ledger::attach(&self.directory.join(state::LEDGER)))?)
    }

    pub(super) fn handle(&self) -> &tokio::runtime::Handle {
        self.runtime.handle()
    }
}
