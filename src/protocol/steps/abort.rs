//! Abort: end a run without results.

use super::{post_run::named_run, pre_run::run_state, recover};
use crate::{
    ledger::RunState,
    protocol::{
        StepError,
        content::working_copy,
        context::station::{CallContext, Station},
    },
};

/// An aborted run.
pub struct AbortAnswer {
    /// The run.
    pub run_id: String,
    /// The name that stands for the sealed image again.
    pub image: String,
    /// What still holds a plaintext image.
    pub plaintext_held_by: Vec<String>,
}

/// Ends a prepared run; see the proto's `AbortRun` for the promise.
pub fn abort_run(station: &Station, run_id: &str, step: &CallContext<'_>) -> Result<AbortAnswer, StepError> {
    let run = named_run(station, run_id, step)?;
    step.authorize_run(&run)?;
    let _claim = station.claim(&run.session_id)?;
    let mut run = station.run(run_id)?;
    if matches!(run.state, RunState::Opening | RunState::Closing) {
        // We hold the claim, so nobody works on it: it was cut off.
        recover::recover_run(station, &run)?;
        run = station.run(run_id)?;
    }
    match run.state {
        RunState::Prepared => station.ledger.advance(run_id, RunState::Prepared, RunState::Aborting)?,
        RunState::Aborting => {}
        RunState::Aborted => {
            // Who held plaintext then may have let go.
            let plaintext_held_by = working_copy::wipe(station, &run)?;
            return Ok(AbortAnswer { run_id: run.id, image: run.image, plaintext_held_by });
        }
        _ => return Err(run_state(run)),
    }
    crate::failpoint::point("abort/intent");
    let plaintext_held_by = recover::finish_abort(station, &run)?;
    crate::failpoint::point("abort/aborted");
    Ok(AbortAnswer { run_id: run.id, image: run.image, plaintext_held_by })
}
