//! `run show`: shows a run.

use super::view;
use crate::cli::{error::CliError, output::Output, state_dir::StateDirArgs};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The run, as `run list` shows it
    #[arg(value_name = "RUN")]
    run_id: String,
    #[command(flatten)]
    state_dir: StateDirArgs,
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let (_state_dir, ledger) = args.state_dir.ledger()?;
    let run = ledger.run(args.run_id.parse()?)?.ok_or_else(|| crate::ledger::LedgerError::NoSuchRun(args.run_id.clone()))?;
    output.result(&view::value(&run), || view::people(&run));
    Ok(())
}
