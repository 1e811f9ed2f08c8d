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
    ledger::{Ledger, LedgerError, ReasonText, Run, RunId, RunState},
};

/// Interval between queries of the ledger.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

const AFTER: &str = "\
Only a prepared run can be abandoned: a run with a step in progress ends by
itself, or at the service's next start. The effect is that of `train abort`, but
without a call to the service: it detects the decision within seconds, or at its
next start. A container that still runs the train is not stopped; it is named,
because it contains plaintext.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The run, as `run list` shows it
    #[arg(value_name = "RUN")]
    run_id: String,
    /// The reason; it is stored with the run
    #[arg(long, value_name = "TEXT")]
    reason: ReasonText,
    /// How long to wait until the service has ended the run
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    wait: u64,
    #[command(flatten)]
    state_dir: StateDirArgs,
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let (state_dir, ledger) = args.state_dir.ledger()?;
    let run = args.run_id.parse::<RunId>();
    let is_aborting = match &run {
        Ok(id) => ledger.run(*id)?.is_some_and(|run| run.state == RunState::Aborting),
        Err(_) => false,
    };
    if !is_aborting {
        let entry = Entry { run: Some(args.run_id.clone()), ..admin_audit::entry(Event::RunAbandoned, "run abandon") };
        let entry = entry.with("reason", args.reason.as_str());
        state_dir.carry_out(entry, || {
            let abandoned = args.run_id.parse().and_then(|id| ledger.abandon(id, &admin_audit::user_name(), &args.reason));
            abandoned.map_err(refused)
        })?;
    }
    let run = ended(&ledger, run?, Duration::from_secs(args.wait))?;
    output.result(&value(&run), || people(&run));
    Ok(())
}

fn refused(error: LedgerError) -> CliError {
    let hint = match &error {
        LedgerError::InState(RunState::Completed) => "its results are sealed; `run allow-again` permits one more run of its stop",
        LedgerError::InState(RunState::Aborted | RunState::Failed) => "it has already ended, and its stop may run again",
        LedgerError::InState(_) => {
            "a step is in progress: wait for its end; a run that a crash interrupted is recovered when the service starts"
        }
        _ => return error.into(),
    };
    CliError::from(error).with_hint(hint)
}

/// Returns the run when the service has ended it, or at the timeout.
fn ended(ledger: &Ledger, id: RunId, timeout: Duration) -> Result<Run, CliError> {
    let started = Instant::now();
    loop {
        let run = ledger.run(id)?.ok_or_else(|| LedgerError::NoSuchRun(id.to_string()))?;
        if run.state != RunState::Aborting || started.elapsed() >= timeout {
            return Ok(run);
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

fn value(run: &Run) -> Value {
    json!({
        "run_id": run.id.to_string(),
        "state": run.state.as_str(),
        "finished": run.state == RunState::Aborted,
        "image": run.image,
        "plaintext_held_by": view::held(run),
    })
}

fn people(run: &Run) -> String {
    let mut text = fields(&[("Run", run.id.to_string()), ("State", run.state.as_str().to_owned()), ("Image", run.image.clone())]);
    if run.state == RunState::Aborting {
        text += "warning: the run is abandoned, but no service has ended it yet: its plaintext exists until a service runs and its engine \
                 responds\n";
    }
    for holder in view::held(run) {
        text += &format!("warning: {holder} still contains plaintext: remove it\n");
    }
    text
}
