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

Run both as the service's user (`sudo -u stationmaster …`): files that root
restores belong to the owner of the state directory, which is root if root
created it. The audit logs are in the state directory, but not in a backup
(`state backup --help`). The configuration, the trust file and the token are
stored elsewhere. Back all of these up separately.";

#[derive(Debug, clap::Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum Command {
    /// Back up the persistent state; the service may be running
    Backup(backup::Args),
    /// Restore a backup into a state directory that has no state yet
    Restore(restore::Args),
    /// Continue without a part of the state that is permanently lost
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
                    // The contents of the given backup.
                    StateError::Unsound { .. } => Exit::Usage,
                    _ => Exit::Other,
                };
                Self { hint, ..Self::new(exit, error) }
            }
        }
    }
}
