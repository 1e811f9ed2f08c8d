//! `train inspect|verify|pre-run|post-run|abort|check-push|results|open`: the steps of a train, and reading one.

mod abort;
mod check_push;
pub(super) mod extract;
pub(super) mod input;
mod inspect;
mod open;
mod post_run;
mod pre_run;
mod results;
pub(super) mod rules;
pub(super) mod upload;
mod verify;

use super::{
    client,
    error::{CliError, Exit},
    output::Output,
};

const EXAMPLES: &str = "\
Examples:
  stationmaster train inspect harbor.example/train:latest
  stationmaster train pre-run harbor.example/train:latest --output json \\
      | tail -1 | jq -r .run_id
  docker run harbor.example/train:latest ...
  stationmaster train post-run RUN_ID
  stationmaster train check-push harbor.example/train:latest
  stationmaster train abort RUN_ID
  stationmaster train verify harbor.example/train:latest

All of them are safe to repeat: the same call returns the same result.";

#[derive(Debug, clap::Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum Command {
    /// Show what a train states about itself; nothing is verified, no key is used
    Inspect(inspect::Args),
    /// Verify a train, rule by rule; no private key is used
    Verify(verify::Args),
    /// Verify a train and open it for a run
    PreRun(pre_run::Args),
    /// Seal and sign the results of a run for the next stop
    PostRun(post_run::Args),
    /// Abort a run without results: the sealed image gets its name back
    Abort(abort::Args),
    /// Write the results of a train into a directory, for callers with a grant
    Results(results::Args),
    /// Open the results of a train as its creator, with the creator's key and without a service
    Open(open::Args),
    /// Check that an image may leave the station: no layer may contain plaintext
    CheckPush(check_push::Args),
}

pub(super) fn run(command: Command, output: Output) -> Result<Exit, CliError> {
    let done = |()| Exit::Done;
    match command {
        Command::Inspect(args) => inspect::run(args, output).map(done),
        Command::Verify(args) => verify::run(args, output),
        Command::PreRun(args) => client::call(pre_run::run(args, output)).map(done),
        Command::PostRun(args) => client::call(post_run::run(args, output)).map(done),
        Command::Abort(args) => client::call(abort::run(args, output)).map(done),
        Command::Open(args) => open::run(&args, output),
        Command::Results(args) => client::call(results::run(args, output)).map(done),
        Command::CheckPush(args) => client::call(check_push::run(args, output)),
    }
}

/// Formats warnings below a result.
fn notes(warnings: &[String], held_by: &[String]) -> String {
    let mut text = String::new();
    for warning in warnings {
        text += &format!("warning: {}\n", super::output::printable(warning));
    }
    for container in held_by {
        text += &format!("warning: container {container} still contains a plaintext image: remove it\n");
    }
    text
}
