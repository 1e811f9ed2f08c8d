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
A station opens each stop of a train session once: who offers a train again that
is finished here gets TRAIN_REPLAYED. These commands show what ran, and are an
officer's way past that. They work on the state directory itself, as a user who
may write there; the service may be running.

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
    /// Everything that the ledger knows of a run: digests, rules, who decided what
    Show(show::Args),
    /// Give up an open run that nobody will close: its plaintext is wiped, the sealed image gets its name back
    Abandon(abandon::Args),
    /// Let the stop of a completed run be run once more
    AllowAgain(allow_again::Args),
    /// Let a train session be bound anew, that was first opened with another id, creator or stop
    ForgetSession(forget_session::Args),
    /// Drop what is not needed any more of runs that ended long ago
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
