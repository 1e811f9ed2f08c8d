//! Direct access to a station's state directory for administrators, without the service, which may be running.

use std::path::PathBuf;

use super::{admin_audit, error::CliError};
use crate::{
    audit::Entry,
    config::Config,
    ledger::Ledger,
    server::{bootstrap, lock::Lock},
    state,
};

/// Which state directory.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct StateDirArgs {
    /// The state directory that this configuration names
    #[arg(long, value_name = "FILE", env = "STATIONMASTER_CONFIG", help_heading = "State directory")]
    config: Option<PathBuf>,
    /// The state directory, in place of a configuration's [default: STATIONMASTER_STATE, which a development station's `env` sets]
    #[arg(long, value_name = "DIR", help_heading = "State directory")]
    state: Option<PathBuf>,
}

/// A state directory and who it belongs to.
pub(super) struct StateDir {
    pub directory: PathBuf,
    /// The station's id, where a configuration told it.
    pub station: Option<String>,
    /// The directory of its audit.
    pub audit: PathBuf,
    runtime: tokio::runtime::Runtime,
}

/// The state directory that `. DIR/env` of a development station names.
pub(super) fn state_variable() -> Option<PathBuf> {
    std::env::var_os("STATIONMASTER_STATE").map(PathBuf::from)
}

impl StateDirArgs {
    pub(super) fn open(&self) -> Result<StateDir, CliError> {
        // A configuration that is named stands for more than a variable that a development station's `env` has left.
        let state = self.state.clone().or_else(|| self.config.is_none().then(state_variable).flatten());
        let (directory, station, audit) = match (&state, &self.config) {
            (Some(directory), _) => (directory.clone(), None, directory.join("audit")),
            (None, Some(file)) => {
                let config = Config::load(file)?;
                let audit = config.audit_directory();
                (config.state.directory, Some(config.station), audit)
            }
            (None, None) => {
                return Err(CliError::usage("no state directory is named: give --config FILE or --state DIR")
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

    /// For commands that no service may run beside: its state directory, held until the lock is dropped.
    pub(super) fn held(&self) -> Result<(StateDir, Lock), CliError> {
        let office = self.open()?;
        let lock = bootstrap::lock_state(&office.directory)?;
        Ok((office, lock))
    }

    /// The ledger alone.
    pub(super) fn ledger(&self) -> Result<(StateDir, Ledger), CliError> {
        let office = self.open()?;
        let ledger = office.ledger()?;
        Ok((office, ledger))
    }
}

impl StateDir {
    /// Does something once that it will be done is in the administrators' log; and puts there how it ended.
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
