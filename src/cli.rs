//! The command line: one file per command, tables for people, `--output json` for programs.

mod access;
pub mod admin_audit;
mod approval;
mod audit;
mod ceremony;
mod check_tree;
mod client;
mod config;
mod confirm;
mod doctor;
mod error;
mod hash;
mod health;
mod hints;
mod image;
mod image_input;
mod key;
mod key_file;
mod manual;
mod module_crash;
mod out_file;
mod output;
mod passphrase;
mod pin;
mod pin_input;
mod progress;
mod run;
mod serve;
mod sign;
mod state;
pub mod state_dir;
mod token;
pub mod token_access;
mod token_select;
mod token_worker;
mod train;
mod trust;
mod unwrap;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand, error::ErrorKind};
use error::{CliError, Exit};
use output::{Format, Output};

const ABOUT: &str = "Opens, checks, closes and signs Personal Health Train images with private keys that stay inside an HSM";

/// The commands come last, because a terminal of 24 lines shows the end.
const TEMPLATE: &str = "\
{about}

{usage-heading} {usage}

Try it, in a directory of its own:
  stationmaster serve --dev --station station-1 --state /tmp/station-1 &
  . /tmp/station-1/env
  stationmaster key list
  stationmaster key export --format hex-pem station-1
  stationmaster train pre-run harbor.example/train:latest --output json

Exit codes:
  0  success                     5  wrong state, or busy: try again later, or
  1  any other error                after another step
  2  invalid arguments, config,  6  service, token or engine unavailable
     or contents of a file       7  not permitted (key, peer, PIN, file)
  3  not found                   8  a check was completed and failed
  4  refused by the train's          (train verify, open, check-push;
     checks or by policy            image validate; audit verify;
  9  a second officer must          doctor; token status, self-test;
     approve it                     key verify)
                               130  interrupted

{before-help}Options:
{options}

Commands:
{subcommands}";

/// Separate from the template, in which braces are placeholders.
const JSON: &str = "\
With --output json the last line on standard output is one JSON object; a
failure is {\"error\":{\"code\",\"reason\",\"message\",\"metadata\",\"hint\"}}.";

#[derive(Parser)]
#[command(name = "stationmaster", version, about = ABOUT, before_help = JSON, help_template = TEMPLATE, max_term_width = 80)]
struct Cli {
    /// Tables for people, or one JSON object as the last line
    #[arg(long, global = true, value_enum, default_value = "table", env = "STATIONMASTER_OUTPUT", hide_env_values = true)]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service
    Serve(serve::Args),
    /// Initialise, list and test tokens
    #[command(subcommand)]
    Token(token::Command),
    /// Change, replace or set the user PIN of a token
    #[command(subcommand)]
    Pin(pin::Command),
    /// Generate, show, verify and destroy keys
    #[command(subcommand)]
    Key(key::Command),
    /// Open and close trains
    #[command(subcommand)]
    Train(train::Command),
    /// Grant access to the service
    #[command(subcommand)]
    Access(access::Command),
    /// Approve or reject what another officer requested
    #[command(subcommand)]
    Approval(approval::Command),
    /// Record what administrators do together, in a signed transcript
    #[command(subcommand)]
    Ceremony(ceremony::Command),
    /// Read and verify the audit log
    #[command(subcommand)]
    Audit(audit::Command),
    /// Manage trusted keys of creators and stations, and allowed master images
    #[command(subcommand)]
    Trust(trust::Command),
    /// Show and manage the runs in the ledger
    #[command(subcommand)]
    Run(run::Command),
    /// Back up and restore the state of a station
    #[command(subcommand)]
    State(state::Command),
    /// Validate images against their masters
    #[command(subcommand)]
    Image(image::Command),
    /// Compute the digests of an image
    Hash(hash::Args),
    /// Sign a file or digest with a general key
    Sign(sign::Args),
    /// Unwrap a symmetric key with a general key
    Unwrap(unwrap::Args),
    /// Serve one token to the service that started this process
    #[command(hide = true)]
    TokenWorker,
    /// Report whether the service is healthy
    Health(health::Args),
    /// Check a station, and name what mends it
    Doctor(doctor::Args),
    /// Check a configuration
    #[command(subcommand)]
    Config(config::Command),
    /// Write a completion script for a shell to standard output
    Completions(manual::Completions),
    /// Write the manual pages, for packages
    #[command(hide = true)]
    Man(manual::ManualPages),
}

/// Runs the process's command line.
#[must_use]
pub fn main() -> ExitCode {
    remove_empty_variables();
    match Cli::try_parse() {
        Ok(cli) => {
            let output = Output::new(cli.output);
            let exit = match run(cli.command, output) {
                Ok(exit) => output::end(exit),
                Err(error) => output.fail(&error),
            };
            crate::server::log::finish();
            exit
        }
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => output::help(&error),
        Err(error) => report_usage(&error, wants_json(std::env::args_os())),
    }
}

/// Removes variables `STATIONMASTER_…` that are set but empty: they count as not set, which is how shells and unit files unset one.
#[expect(unsafe_code, reason = "changes the environment before a thread runs")]
fn remove_empty_variables() {
    for (name, value) in std::env::vars_os() {
        if value.is_empty() && name.to_string_lossy().starts_with("STATIONMASTER_") {
            // SAFETY: the process does this first, on its only thread.
            unsafe { std::env::remove_var(name) };
        }
    }
}

fn run(command: Command, output: Output) -> Result<Exit, CliError> {
    match command {
        Command::Serve(args) => serve::run(args),
        Command::Token(command) => return token::run(command, output),
        Command::Pin(command) => pin::run(command, output),
        Command::Key(command) => return key::run(command, output),
        // These have exit codes for a completed check that failed.
        Command::Train(command) => return train::run(command, output),
        Command::Image(command) => return image::run(command, output),
        Command::Access(command) => access::run(command, output),
        Command::Ceremony(command) => ceremony::run(command, output),
        Command::Approval(command) => approval::run(command, output),
        Command::Audit(command) => return audit::run(command, output),
        Command::Trust(command) => trust::run(command, output),
        Command::Run(command) => run::run(command, output),
        Command::State(command) => state::run(command, output),
        Command::Hash(args) => hash::run(args, output),
        Command::Sign(args) => client::call(sign::run(args, output)),
        Command::Unwrap(args) => client::call(unwrap::run(args, output)),
        Command::TokenWorker => token_worker::run(),
        Command::Health(args) => client::call(health::run(args, output)),
        Command::Doctor(args) => return doctor::run(&args, output),
        Command::Config(command) => config::run(command, output),
        Command::Completions(args) => manual::completions(&args),
        Command::Man(args) => manual::pages(&args, output),
    }
    .map(|()| Exit::Done)
}

/// Reports wrong arguments: as clap's own text, or as the error object for programs.
fn report_usage(error: &clap::Error, json: bool) -> ExitCode {
    if json {
        return Output::new(Format::Json).fail(&usage(error));
    }
    let _ = error.print();
    Exit::Usage.into()
}

/// Converts clap's error: its first paragraph is the message, with the arguments that it lists; its tips are the hint.
fn usage(error: &clap::Error) -> CliError {
    let text = error.to_string();
    let mut paragraphs = text.split("\n\n").map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    let message = paragraphs.next().unwrap_or_default();
    let tips: Vec<String> = paragraphs.filter_map(|line| line.strip_prefix("tip: ").map(str::to_owned)).collect();
    let hint = if tips.is_empty() { "see --help".to_owned() } else { tips.join("; ") + "; see --help" };
    CliError::new(Exit::Usage, message.trim_start_matches("error: ")).with_hint(hint)
}

/// Returns whether JSON was requested, in arguments that could not be parsed.
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

    /// Returns every command's help, short and long, with the command's name.
    fn helps() -> Vec<(String, String)> {
        fn walk(command: &mut clap::Command, name: &str, found: &mut Vec<(String, String)>) {
            found.push((name.to_owned(), command.render_help().to_string()));
            found.push((name.to_owned(), command.render_long_help().to_string()));
            for below in command.get_subcommands_mut().filter(|below| below.get_name() != "help") {
                let name = format!("{name} {}", below.get_name());
                walk(below, &name, found);
            }
        }
        let mut root = Cli::command();
        root.build();
        let mut found = Vec::new();
        walk(&mut root, "stationmaster", &mut found);
        found
    }

    #[test]
    fn every_help_fits_80_columns() {
        let helps = helps();
        assert!(helps.len() > 80, "only {} were seen", helps.len());
        let mut wide = Vec::new();
        for (name, help) in helps {
            wide.extend(help.lines().filter(|line| line.chars().count() > 80).map(|line| format!("{name}: {line}")));
        }
        assert!(wide.is_empty(), "{}", wide.join("\n"));
    }

    #[test]
    fn no_help_teaches_a_station_id_that_is_a_number() {
        let is_number = |word: &str| word.chars().all(|letter| letter.is_ascii_digit());
        for (name, help) in helps() {
            let words: Vec<&str> = help.split_whitespace().collect();
            let taught = words.windows(2).any(|pair| pair[0] == "--station" && is_number(pair[1]));
            assert!(!taught, "{name}:\n{help}");
        }
    }

    #[test]
    fn the_commands_are_what_a_small_terminal_shows_of_the_help() {
        let (_, help) = helps().swap_remove(1);
        let lines: Vec<&str> = help.trim_end().lines().collect();
        let commands = lines.iter().position(|line| *line == "Commands:").expect("the commands");
        assert!(lines.len() - commands < 24, "the commands are scrolled away:\n{help}");
    }

    #[test]
    fn a_usage_error_is_shown_completely() {
        let error_of = |line: &str| match Cli::try_parse_from(line.split(' ')) {
            Ok(_) => panic!("{line} is accepted"),
            Err(error) => usage(&error),
        };
        let missing = error_of("stationmaster trust add station a");
        assert_eq!(missing.message, "the following required arguments were not provided: --key <FILE|HEX>");
        let missing = error_of("stationmaster sign --output json");
        assert!(
            missing.message.contains("--key <LABEL>") && missing.message.contains("--scheme <SCHEME>"),
            "{}",
            missing.message
        );
        let unknown = error_of("stationmaster train pre-rum x");
        assert!(unknown.hint.as_ref().is_some_and(|hint| hint.contains("'pre-run'")), "{unknown:?}");
        let wrong = error_of("stationmaster sign --key a --scheme md5 f");
        assert!(wrong.message.contains("rsa-pss-sha256"), "the possible values are left out: {}", wrong.message);
    }
}
