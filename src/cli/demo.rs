//! `demo`: demonstrates the whole protocol on this machine.

use std::path::PathBuf;

use super::error::{CliError, Exit};
use crate::demo::{self, DemoError};

const AFTER: &str = "\
Needs a Docker engine (DOCKER_HOST, or /var/run/docker.sock), softhsm2 and
busybox-static; `make demo` installs what is missing. Everything it makes is
removed when it ends, also after Ctrl-C.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    /// Leave images, tokens, logs and the creator's key behind, to look at
    #[arg(long)]
    keep: bool,
    /// Where the stations' files go: an empty directory, or one to make [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

pub(super) fn run(args: Args) -> Result<(), CliError> {
    demo::run(&demo::Options { keep: args.keep, state: args.state }).map_err(CliError::from)
}

impl From<DemoError> for CliError {
    fn from(error: DemoError) -> Self {
        let exit = match &error {
            DemoError::NoEngine { .. } | DemoError::NoBusybox(_) | DemoError::NoSoftHsm => Exit::Unavailable,
            DemoError::EngineElsewhere(_) | DemoError::StateInUse(_) => Exit::Usage,
            DemoError::Interrupted => Exit::Interrupted,
            _ => Exit::Other,
        };
        let shown = Self::new(exit, &error);
        match error.hint() {
            Some(hint) => shown.with_hint(hint),
            None => shown,
        }
    }
}
