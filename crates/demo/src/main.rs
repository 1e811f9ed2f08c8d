//! The `stationmaster-demo` binary: takes a real train through three stations on this machine.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use stationmaster_demo::{DemoError, DemoOptions};

const AFTER: &str = "\
Prerequisites a Docker engine (DOCKER_HOST, or /var/run/docker.sock), softhsm2,
busybox-static, and the program `stationmaster` in the same directory; `make
demo` installs and builds what is missing. Everything that it creates is removed
at its end, also after Ctrl-C.

Exit codes: 0 all checks passed, 1 a check failed, 2 invalid arguments,
6 a requirement is missing on this machine, 130 interrupted.";

/// Demonstrates the whole protocol on this machine
#[derive(Debug, Parser)]
#[command(name = "stationmaster-demo", version, after_help = AFTER)]
struct Args {
    /// Keep images, tokens, logs and the creator's key for inspection
    #[arg(long)]
    keep: bool,
    /// Directory for the stations' files, which is empty or does not exist yet [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match stationmaster_demo::run(&DemoOptions { keep: args.keep, state: args.state }) {
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
