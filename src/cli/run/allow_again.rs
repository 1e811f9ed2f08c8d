//! `run allow-again`: permits a completed stop to run again.

use serde_json::json;

use super::view;
use crate::{
    audit::{Entry, Event},
    cli::{
        admin_audit::{
            self,
            four_eyes::{self, FourEyesArgs, Proposal},
        },
        error::CliError,
        output::Output,
        state_dir::StateDirArgs,
    },
    config::GuardedAct,
    ledger::{LedgerError, ReasonText, RunState},
};

const AFTER: &str = "\
Permits exactly one more run of the stop that completes; failed and aborted runs
do not use the permission up. The train must be offered in the state in which it
arrived at this stop (pull it again): this station cannot open the state that
this run sealed. The stop may appear twice in later results, so a reason is
stored.

Example:
  stationmaster run allow-again 0193a1c2-… \\
      --reason \"results lost at the next stop, ticket 4711\"";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The run, as `run list` shows it and TRAIN_REPLAYED names it
    #[arg(value_name = "RUN")]
    run_id: String,
    /// The reason; it is stored with the run
    #[arg(long, value_name = "TEXT")]
    reason: ReasonText,
    #[command(flatten)]
    four_eyes: FourEyesArgs,
    #[command(flatten)]
    state_dir: StateDirArgs,
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let state_dir = args.state_dir.open()?;
    let config = args.state_dir.guarding_config(&state_dir)?;
    let ledger = state_dir.ledger()?;
    let entry = Entry { run: Some(args.run_id.clone()), ..admin_audit::entry(Event::RunAllowedAgain, "run allow-again") };
    let entry = entry.with("reason", args.reason.as_str());
    let proposal = Proposal {
        act: GuardedAct::AllowAgain,
        command: "run allow-again",
        parameters: json!({ "state": state_dir.directory, "run": args.run_id, "reason": args.reason.as_str() }),
        reason: Some(&args.reason),
    };
    let permit = four_eyes::permit(config.as_ref(), &proposal, &args.four_eyes)?;
    let run = admin_audit::carry_out_guarded(&state_dir.audit, entry, permit, || {
        let released = args.run_id.parse().and_then(|id| ledger.release(id, &admin_audit::user_name(), &args.reason));
        released.map_err(refused)
    })?;
    output.result(&view::summary(&run), || {
        format!(
            "Stop {} of train {} may run once more at this station\n",
            run.stop_index,
            crate::cli::output::printable(&run.train_id)
        )
    });
    Ok(())
}

fn refused(error: LedgerError) -> CliError {
    let hint = match &error {
        LedgerError::ReleasedBefore => {
            "`run list --session HEX` shows whether the further run exists; that run can be permitted again"
        }
        LedgerError::InState(RunState::Aborted | RunState::Failed) => "its stop may already run again",
        LedgerError::InState(_) => "it is not completed: close it, or abandon it with `run abandon`",
        _ => return error.into(),
    };
    CliError::from(error).with_hint(hint)
}
