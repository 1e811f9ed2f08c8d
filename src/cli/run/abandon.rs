//! `run abandon`: abandons a prepared run.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::view;
use crate::{
    audit::{Entry, Event},
    cli::{
        admin_audit,
        error::CliError,
        output::{Output, fields},
        state_dir::StateDirArgs,
    },
    ledger::{Ledger, LedgerError, Reason, Run, RunState},
};

/// How often the ledger is asked what became of it.
const EVERY: Duration = Duration::from_millis(200);

const AFTER: &str = "\
Only a run that is prepared can be given up: one with a step under way ends by
itself, or with the service's next start. What is done is what `train abort`
does, but nobody has to call the service: it sees the decision within seconds,
and where no service runs, its next start does. A container that still runs the
train is not stopped; it is named, as it holds plaintext.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The run, as `run list` shows it
    #[arg(value_name = "RUN")]
    run_id: String,
    /// Why; it is kept with the run
    #[arg(long, value_name = "TEXT")]
    reason: Reason,
    /// How long to wait for the service to finish it
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    wait: u64,
    #[command(flatten)]
    place: StateDirArgs,
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let (office, ledger) = args.place.ledger()?;
    let is_under_way = ledger.run(&args.run_id)?.is_some_and(|run| run.state == RunState::Aborting);
    if !is_under_way {
        let entry = Entry { run: Some(args.run_id.clone()), ..admin_audit::entry(Event::RunAbandoned, "run abandon") };
        let entry = entry.with("reason", args.reason.as_str());
        office.carry_out(entry, || ledger.abandon(&args.run_id, &admin_audit::name(), &args.reason).map_err(refused))?;
    }
    let run = ended(&ledger, &args.run_id, Duration::from_secs(args.wait))?;
    output.result(&value(&run), || people(&run));
    Ok(())
}

fn refused(error: LedgerError) -> CliError {
    let hint = match &error {
        LedgerError::InState(RunState::Completed) => "its results are sealed; `run allow-again` lets its stop be run once more",
        LedgerError::InState(RunState::Aborted | RunState::Failed) => "it has ended already, and its stop is free",
        LedgerError::InState(_) => "a step is under way: wait for it; what a crash cut off is mended when the service starts",
        _ => return error.into(),
    };
    CliError::from(error).with_hint(hint)
}

/// The run when the service has ended it, or when the time is over.
fn ended(ledger: &Ledger, id: &str, patience: Duration) -> Result<Run, CliError> {
    let begun = Instant::now();
    loop {
        let run = ledger.run(id)?.ok_or_else(|| LedgerError::NoSuchRun(id.to_owned()))?;
        if run.state != RunState::Aborting || begun.elapsed() >= patience {
            return Ok(run);
        }
        std::thread::sleep(EVERY);
    }
}

fn value(run: &Run) -> Value {
    json!({
        "run_id": run.id,
        "state": run.state.as_str(),
        "finished": run.state == RunState::Aborted,
        "image": run.image,
        "plaintext_held_by": view::held(run),
    })
}

fn people(run: &Run) -> String {
    let mut text = fields(&[("Run", run.id.clone()), ("State", run.state.as_str().to_owned()), ("Image", run.image.clone())]);
    if run.state == RunState::Aborting {
        text += "warning: it is given up, and no service has finished that yet: plaintext is still there until a service runs and \
                 its engine answers\n";
    }
    for holder in view::held(run) {
        text += &format!("warning: {holder} still holds plaintext: remove it\n");
    }
    text
}
