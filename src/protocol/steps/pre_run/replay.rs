//! Repeated pre-run: returns the response of the earlier call, or reports the state of its run.

use super::{PreRunAnswer, PreRunCall, annotate_outcome};
use crate::{
    ledger::{Run, RunState},
    protocol::{
        admission::{
            admit::StopOnRoute,
            authorize::AuthorizedTrain,
            trust_check::{TrustCheck, TrustPhase},
        },
        context::error::StepError,
        steps::{runs::conflict_error, working_copy},
    },
};

/// Returns the earlier response to a repeated call, or reports the state of the run.
pub(super) fn replay_answer(call: &PreRunCall<'_>, run: Run) -> Result<PreRunAnswer, StepError> {
    let PreRunCall { station, order, step, trusted, source_id } = call;
    step.authorize_run(&run)?;
    if is_another_request(call, &run)? {
        return Err(conflict_error(run, step));
    }
    // The response is plaintext: it is returned only where a first call would return it, and only if the train is still trusted.
    let train = AuthorizedTrain::authorize_run(&run, step)?;
    let stop = StopOnRoute::to_run(&train.document().config, &station.id)?;
    train.admit(station, stop, TrustCheck { trusted, phase: TrustPhase::ToRead }, step)?;
    let record = run.pre_run.clone().ok_or(StepError::Invariant("a prepared run without its outcome"))?;
    annotate_outcome(&record, step);
    // The name may have been moved back to the sealed image (a repeated pull): the response must be true again.
    if run.opened_image.as_ref().is_some_and(|opened| opened != source_id) {
        station.images.tag(&record.image_id, &order.image)?;
    }
    let query = if record.has_query { Some(working_copy::read_query(station, &run, step)?) } else { None };
    let mounts = working_copy::mounts(station, &run)?;
    Ok(PreRunAnswer { run, record, query, mounts, repeated: true })
}

/// Whether the run cannot be the response to this call.
fn is_another_request(call: &PreRunCall<'_>, run: &Run) -> Result<bool, StepError> {
    let PreRunCall { order, step, source_id, .. } = call;
    // A run of an older version has no principal: its idempotency key matches any caller that names it.
    let is_own = run.principal.as_deref().is_none_or(|principal| principal == step.caller.principal());
    let is_same_key = is_own && order.idempotency_key.as_ref() == Some(&run.idempotency_key);
    if is_same_key && !run.has_image(source_id) {
        return Err(StepError::IdempotencyMismatch);
    }
    Ok((order.idempotency_key.is_some() && !is_same_key)
        || (run.source_image != *source_id && run.opened_image.as_ref() != Some(source_id))
        || run.state != RunState::Prepared
        || run.image != order.image.to_string()
        || run.opened_into != order.into)
}
