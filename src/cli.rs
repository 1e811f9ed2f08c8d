//! The command line: one file per command, tables for people, `--output json` for programs.

mod access;
mod audit;
mod client;
mod config;
mod demo;
mod direct;
mod error;
mod hash;
mod health;
mod hints;
mod image;
mod key;
mod office;
mod officer;
mod output;
mod progress;
mod run;
mod serve;
mod sign;
mod state;
mod token;
mod train;
mod trust;
mod unwrap;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand, error::ErrorKind};

use error::{CliError, Exit};
use output::{Format, Output};

const ABOUT: &str = "Opens, checks, closes and signs Personal Health Train images with private keys that stay inside an HSM";

const AFTER: &str = "\
Try it, in a directory of its own:
  stationmaster serve --dev --station station-1 --state /tmp/station-1 &
  . /tmp/station-1/env
  stationmaster key list
  stationmaster key export --format hex-pem station-1
  stationmaster train pre-run harbor.example/train:latest --output json

Exit codes:
  0  done                        4  the train, or the policy, refuses
  1  anything else               5  wrong state, or busy: later, or another step first
  2  wrong arguments or config   6  service, token or engine not available
  3  not found                   7  not permitted (key, peer, PIN)
  8  looked at, and a rule is  130  interrupted
     broken (train verify, open, check-push; image validate; audit verify)

With --output json the last line on standard output is one JSON object; a failure is
{\"error\":{\"code\",\"reason\",\"message\",\"metadata\",\"hint\"}}.";

#[derive(Parser)]
#[command(name = "stationmaster", version, about = ABOUT, after_help = AFTER)]
struct Cli {
    /// Tables for people, or one JSON object as the last line
    #[arg(long, global = true, value_enum, default_value = "table", env = "STATIONMASTER_OUTPUT")]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service
    Serve(serve::Args),
    /// Show the whole protocol on this machine: three stations, one train
    Demo(demo::Args),
    /// Make a token
    #[command(subcommand)]
    Token(token::Command),
    /// Make and show keys
    #[command(subcommand)]
    Key(key::Command),
    /// Open and close trains
    #[command(subcommand)]
    Train(train::Command),
    /// Who may call the service, and with what
    #[command(subcommand)]
    Access(access::Command),
    /// What happened here, and whether the log is what was written
    #[command(subcommand)]
    Audit(audit::Command),
    /// Whom this station believes: pinned keys of creators and stations, allowed master images
    #[command(subcommand)]
    Trust(trust::Command),
    /// What ran here, and an officer's way past the ledger
    #[command(subcommand)]
    Run(run::Command),
    /// Back up and restore what a station must not forget
    #[command(subcommand)]
    State(state::Command),
    /// Look at images: whether they are what their master says
    #[command(subcommand)]
    Image(image::Command),
    /// Digests of an image
    Hash(hash::Args),
    /// Sign a file or digest with a general key
    Sign(sign::Args),
    /// Open a wrapped symmetric key with a general key
    Unwrap(unwrap::Args),
    /// Ask whether the service is healthy
    Health(health::Args),
    /// Check a configuration
    #[command(subcommand)]
    Config(config::Command),
}

/// Runs the process's command line.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => {
            let output = Output::new(cli.output);
            let exit = match run(cli.command, output) {
                Ok(exit) => exit.into(),
                Err(error) => output.fail(&error),
            };
            crate::server::log::finish();
            exit
        }
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            let _ = error.print();
            ExitCode::SUCCESS
        }
        Err(error) => misused(&error, wants_json(std::env::args_os())),
    }
}

fn run(command: Command, output: Output) -> Result<Exit, CliError> {
    match command {
        Command::Serve(args) => serve::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Token(command) => token::run(command, output),
        Command::Key(command) => key::run(command, output),
        // These answer what is not a failure, and not well either.
        Command::Train(command) => return train::run(command, output),
        Command::Image(command) => return image::run(command, output),
        Command::Access(command) => access::run(command, output),
        Command::Audit(command) => return audit::run(command, output),
        Command::Trust(command) => trust::run(command, output),
        Command::Run(command) => run::run(command, output),
        Command::State(command) => state::run(command, output),
        Command::Hash(args) => hash::run(args, output),
        Command::Sign(args) => client::call(sign::run(args, output)),
        Command::Unwrap(args) => client::call(unwrap::run(args, output)),
        Command::Health(args) => client::call(health::run(args, output)),
        Command::Config(command) => config::run(command, output),
    }
    .map(|()| Exit::Done)
}

/// Wrong arguments: clap's own text for people; programs get the error object all the same.
fn misused(error: &clap::Error, json: bool) -> ExitCode {
    if json {
        let text = error.to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        return Output::new(Format::Json).fail(&CliError::new(Exit::Usage, message).with_hint("see --help"));
    }
    let _ = error.print();
    Exit::Usage.into()
}

/// Whether JSON was asked for, told from arguments that could not be parsed.
fn wants_json(arguments: impl Iterator<Item = OsString>) -> bool {
    let arguments: Vec<_> = arguments.map(|argument| argument.to_string_lossy().into_owned()).collect();
    arguments.iter().any(|argument| argument == "--output=json")
        || arguments.windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json")
        || std::env::var("STATIONMASTER_OUTPUT").is_ok_and(|format| format == "json")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn json_is_seen_in_arguments_that_cannot_be_parsed() {
        let arguments = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>().into_iter();
        assert!(wants_json(arguments("stationmaster nonsense --output json")));
        assert!(wants_json(arguments("stationmaster --output=json nonsense")));
        assert!(!wants_json(arguments("stationmaster nonsense")));
    }
}
