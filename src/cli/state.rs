//! `state backup|restore|accept-loss`: backup of a station's persistent state, restore, and continuing without a lost part.

mod accept_loss;
mod backup;
mod restore;

use super::{
    error::{CliError, Exit},
    output::Output,
};
use crate::state::StateError;

const EXAMPLES: &str = "\
Examples:
  stationmaster state backup \\
      --config /etc/stationmaster/stationmaster.toml /backup/station-$(date +%F)
  stationmaster state restore \\
      --config /etc/stationmaster/stationmaster.toml /backup/station-2026-11-24

Run both as the service's user (`sudo -u stationmaster …`): what root restores
belongs to the owner of the state directory, which is root where root made it.
The audit is in the state directory, but in no backup (`state backup --help`).
The configuration, the trust file beside it and the token lie elsewhere. Back
all of these up on their own.";

#[derive(Debug, clap::Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum Command {
    /// Copy what a station must not forget; the service may be running
    Backup(backup::Args),
    /// Put a backup into a state directory that has no state yet
    Restore(restore::Args),
    /// Go on without a part of the state that is lost for good
    AcceptLoss(accept_loss::Args),
}

pub(super) fn run(command: Command, output: Output) -> Result<(), CliError> {
    match command {
        Command::Backup(args) => backup::run(&args, output),
        Command::Restore(args) => restore::run(&args, output),
        Command::AcceptLoss(args) => accept_loss::run(&args, output),
    }
}

impl From<StateError> for CliError {
    fn from(error: StateError) -> Self {
        let hint = error.hint();
        match error {
            StateError::Ledger(error) => error.into(),
            StateError::Audit(error) => error.into(),
            StateError::Io { what, path, source } if path.is_dir() || what.ends_with(" in") => {
                Self::directory(what, &path, &source)
            }
            StateError::Io { what, path, source } => Self::file(what, &path, &source),
            error => {
                let exit = match &error {
                    StateError::InTheWay(_)
                    | StateError::OpenRuns(_)
                    | StateError::Missing { .. }
                    | StateError::Mismatch { .. }
                    | StateError::LedgerOutdated { .. }
                    | StateError::NotLost(_) => Exit::State,
                    // The content of the backup that was given.
                    StateError::Unsound { .. } => Exit::Usage,
                    _ => Exit::Other,
                };
                Self { hint, ..Self::new(exit, error) }
            }
        }
    }
}
