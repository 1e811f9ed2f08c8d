//! The `stationmaster-demo` binary: takes a real train through three stations on this machine.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use stationmaster_demo::{DemoError, Options};

const AFTER: &str = "\
Needs a Docker engine (DOCKER_HOST, or /var/run/docker.sock), softhsm2,
busybox-static, and the program `stationmaster` beside this one; `make demo`
installs and builds what is missing. Everything that it makes is removed when
it ends, also after Ctrl-C.

Exit codes: 0 all of it holds, 1 something does not, 2 wrong arguments,
6 something is missing on this machine, 130 interrupted.";

/// Demonstrates the whole protocol on this machine
#[derive(Debug, Parser)]
#[command(name = "stationmaster-demo", version, after_help = AFTER)]
struct Args {
    /// Leave images, tokens, logs and the creator's key behind, to look at
    #[arg(long)]
    keep: bool,
    /// Where the stations' files go: an empty directory, or one to make [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match stationmaster_demo::run(&Options { keep: args.keep, state: args.state }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            if let Some(hint) = error.hint() {
                eprintln!("hint: {hint}");
            }
            exit_code(&error).into()
        }
    }
}

/// Returns the exit code, by the rule of `docs/cli.md`.
fn exit_code(error: &DemoError) -> u8 {
    match error {
        DemoError::NoEngine { .. } | DemoError::NoBusybox(_) | DemoError::NoSoftHsm | DemoError::NoService(_) => 6,
        DemoError::EngineElsewhere(_) | DemoError::StateInUse(_) => 2,
        DemoError::Interrupted => 130,
        _ => 1,
    }
}
