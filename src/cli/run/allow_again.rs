//! `run allow-again`: permits a completed stop to run again.

use super::view;
use crate::{
    audit::{Entry, Event},
    cli::{admin_audit, error::CliError, output::Output, state_dir::StateDirArgs},
    ledger::{LedgerError, Reason, RunState},
};

const AFTER: &str = "\
Frees the stop of a completed run for exactly one more that completes; runs that
fail or are aborted meanwhile do not use it up. The state of the train that came
to this stop must be offered again (pull it once more): what this run sealed is
no state that this station can open. Whoever looks at the results later may see
the stop twice: that is why a reason is kept.

Example:
  stationmaster run allow-again 0193a1c2-… \\
      --reason \"results lost at the next stop, ticket 4711\"";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The run, as `run list` shows it and TRAIN_REPLAYED names it
    #[arg(value_name = "RUN")]
    run_id: String,
    /// Why; it is kept with the run
    #[arg(long, value_name = "TEXT")]
    reason: Reason,
    #[command(flatten)]
    place: StateDirArgs,
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let (office, ledger) = args.place.ledger()?;
    let entry = Entry { run: Some(args.run_id.clone()), ..admin_audit::entry(Event::RunAllowedAgain, "run allow-again") };
    let entry = entry.with("reason", args.reason.as_str());
    let run = office.carry_out(entry, || ledger.release(&args.run_id, &admin_audit::name(), &args.reason).map_err(refused))?;
    output.result(&view::summary(&run), || {
        format!("Stop {} of train {} may be run once more here\n", run.stop_index, crate::cli::output::printable(&run.train_id))
    });
    Ok(())
}

fn refused(error: LedgerError) -> CliError {
    let hint = match &error {
        LedgerError::ReleasedBefore => {
            "`run list --session HEX` shows whether the further run is there; that one can be released"
        }
        LedgerError::InState(RunState::Aborted | RunState::Failed) => "its stop is free already",
        LedgerError::InState(_) => "it is not completed: close it, or give it up with `run abandon`",
        _ => return error.into(),
    };
    CliError::from(error).with_hint(hint)
}
