//! Abort: ends a run without results.

use super::{
    recover,
    runs::{named_run, state_error},
    working_copy,
};
use crate::{
    ledger::{RunId, RunState},
    protocol::{
        admission::station::Station,
        context::{call_context::CallContext, error::StepError},
    },
};

/// Result of an aborted run.
pub struct AbortAnswer {
    /// The run.
    pub run_id: RunId,
    /// The name that refers to the sealed image again.
    pub image: String,
    /// The names of those that still hold a plaintext image.
    pub plaintext_held_by: Vec<String>,
}

/// Ends a prepared run; the contract is documented at the proto's `AbortRun`.
pub fn abort_run(station: &Station, run_id: &str, step: &CallContext<'_>) -> Result<AbortAnswer, StepError> {
    let run = named_run(station, run_id, step)?;
    let run_id = run.id;
    step.authorize_run(&run)?;
    let _claim = station.claim(&run.session_id)?;
    let mut run = station.run(run_id)?;
    if matches!(run.state, RunState::Opening | RunState::Closing) {
        // This call holds the claim, so no other call works on the run: it was interrupted.
        recover::recover_run(station, &run)?;
        run = station.run(run_id)?;
    }
    match run.state {
        RunState::Prepared => station.ledger.advance(run_id, RunState::Prepared, RunState::Aborting)?,
        RunState::Aborting => {}
        RunState::Aborted => {
            // Whatever held plaintext then may have released it.
            let plaintext_held_by = working_copy::wipe(station, &run)?;
            return Ok(AbortAnswer { run_id: run.id, image: run.image, plaintext_held_by });
        }
        _ => return Err(state_error(run)),
    }
    stationmaster_system::failpoint::point("abort/intent");
    let plaintext_held_by = recover::finish_abort(station, &run)?;
    stationmaster_system::failpoint::point("abort/aborted");
    Ok(AbortAnswer { run_id: run.id, image: run.image, plaintext_held_by })
}
