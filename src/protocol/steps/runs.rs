//! Runs in the ledger: how calls find them, and why a run's state refuses a call.

use stationmaster_image::{ImageError, oci::reference::ImageName, store::PinnedImage};

use crate::{
    ledger::{Run, RunState},
    protocol::{
        admission::station::Station,
        context::{call_context::CallContext, error::StepError},
    },
};

/// Returns the run that a call names; a text that is no id names none. A caller whose grants name certain trains does not learn which runs exist.
pub(in crate::protocol) fn named_run(station: &Station, id: &str, step: &CallContext<'_>) -> Result<Run, StepError> {
    let run = id.parse().map_err(|_| StepError::RunNotFound(id.to_owned())).and_then(|id| station.run(id));
    run.map_err(|error| step.authorize_absence(error))
}

/// Returns why a run prevents a train from being opened, for a caller that is granted the run.
pub(in crate::protocol) fn conflict_error(run: Run, step: &CallContext<'_>) -> StepError {
    if let Err(refused) = step.authorize_run(&run) {
        return refused;
    }
    match run.state {
        RunState::Completed => StepError::Replayed { run: run.id, stop: run.stop_index },
        _ => state_error(run),
    }
}

/// Returns the refusal of a call that the run's state does not allow.
pub(in crate::protocol) fn state_error(run: Run) -> StepError {
    StepError::RunState { id: run.id, state: run.state }
}

/// Returns the private name that keeps an image for a run.
pub(in crate::protocol) fn private_name(station: &Station, kept: PinnedImage, run: &Run) -> Result<ImageName, ImageError> {
    Ok(station.images.pin_tag(kept, &run.image.parse()?, &run.id.to_string()))
}
