//! `run list|show|abandon|allow-again|forget-session|prune`: runs in the ledger, for administrators. The service may be running.

mod abandon;
mod allow_again;
mod forget_session;
mod list;
mod prune;
mod show;
pub(super) mod view;

use super::{error::CliError, output::Output};

const EXAMPLES: &str = "\
A station runs each stop of a train session once: a train that has completed here
is refused with TRAIN_REPLAYED. These commands show the runs, and permit
administrators to make exceptions. They work on the state directory itself, as a
user with write access; the service may be running.

Examples:
  export STATIONMASTER_CONFIG=/etc/stationmaster/stationmaster.toml
  stationmaster run list --open
  stationmaster run show 0193a1c2-…
  stationmaster run abandon 0193a1c2-… --reason \"container lost with its host\"
  stationmaster run allow-again 0193a1c2-… \\
      --reason \"results lost at the next stop, ticket 4711\"
  stationmaster run prune --older-than 365 --reason \"yearly\"";

#[derive(Debug, clap::Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum Command {
    /// List runs, newest first
    List(list::Args),
    /// Show the ledger's entry of a run: digests, rules, decisions of administrators
    Show(show::Args),
    /// Abandon an open run that will not be closed: its plaintext is removed, the sealed image gets its name back
    Abandon(abandon::Args),
    /// Permit one more run of a completed run's stop
    AllowAgain(allow_again::Args),
    /// Remove the binding of a train session that was first opened with another id, creator or stop
    ForgetSession(forget_session::Args),
    /// Delete data of runs that ended long ago
    Prune(prune::Args),
}

pub(super) fn run(command: Command, output: Output) -> Result<(), CliError> {
    match command {
        Command::List(args) => list::run(&args, output),
        Command::Show(args) => show::run(&args, output),
        Command::Abandon(args) => abandon::run(&args, output),
        Command::AllowAgain(args) => allow_again::run(&args, output),
        Command::ForgetSession(args) => forget_session::run(&args, output),
        Command::Prune(args) => prune::run(&args, output),
    }
}
