//! Post-run: seals and signs the content after a run, and writes the image for the next stop on the train's base.

mod close;
mod sealed_layer;

use stationmaster_image::oci::reference::{ImageId, ImageName, ImageSource};
use stationmaster_system::failpoint;

use self::close::ClosingRun;
use super::{
    recover,
    runs::{named_run, state_error},
};
use crate::{
    audit::ImageIds,
    ledger::{PostRunRecord, Run, RunId, RunState},
    protocol::{
        admission::{authorize::AuthorizedTrain, station::Station},
        checks::rule_report,
        context::{call_context::CallContext, error::StepError},
    },
};

/// Parameters of a post-run.
pub struct PostRunOrder {
    /// The run, as the caller names it; if absent, it is found by the image.
    pub run_id: Option<String>,
    /// The image with the results, whose name is written; if absent, the one that pre-run wrote.
    pub image: Option<ImageName>,
    /// Whether the caller confirms that the run left no results.
    pub no_results: bool,
}

/// Result of a post-run.
pub struct PostRunAnswer {
    /// The run.
    pub run_id: RunId,
    /// Its outcome.
    pub record: PostRunRecord,
    /// Whether the run was already closed before this call.
    pub repeated: bool,
}

/// Seals and signs a prepared run; the contract is documented at the proto's `PostRun`.
pub fn post_run(station: &Station, order: &PostRunOrder, step: &CallContext<'_>) -> Result<PostRunAnswer, StepError> {
    station.trusted_keys()?;
    let run = find_run(station, order, step)?;
    step.authorize_run(&run)?;
    let _claim = station.claim(&run.session_id)?;
    let run = recovered(station, run.id)?;
    let image: ImageName = match &order.image {
        Some(image) => image.clone(),
        None => run.image.parse()?,
    };
    match (run.state, run.post_run.clone()) {
        (RunState::Completed, Some(record)) if order.image.is_none() || record.image == image.to_string() => {
            replay_answer(station, run, record, step)
        }
        (RunState::Prepared, _) => {
            let image_id = begin(station, order, &run, &image, step)?;
            let no_results = order.no_results;
            complete(&ClosingRun { station, run: &run, image: &image, image_id: &image_id, no_results, step })
        }
        _ => Err(state_error(run)),
    }
}

/// Returns the run as it is now. The call holds the claim, so no other call works on a run that is closing: it was interrupted,
/// and its roll-back too.
fn recovered(station: &Station, run_id: RunId) -> Result<Run, StepError> {
    let run = station.run(run_id)?;
    if run.state != RunState::Closing {
        return Ok(run);
    }
    recover::recover_run(station, &run)?;
    station.run(run_id)
}

/// Returns the earlier response to a repeated call. What held plaintext then may have released it.
fn replay_answer(
    station: &Station,
    run: Run,
    mut record: PostRunRecord,
    step: &CallContext<'_>,
) -> Result<PostRunAnswer, StepError> {
    if !record.plaintext_held_by.is_empty() {
        recover::clean_up_completed(station, &run, run.closing_image.as_ref(), &mut record);
        station.ledger.record_post_run(run.id, &record)?;
    }
    annotate_outcome(&record, step);
    Ok(PostRunAnswer { run_id: run.id, record, repeated: true })
}

/// Writes the intent to the ledger. Returns the id of the image after the run.
fn begin(
    station: &Station,
    order: &PostRunOrder,
    run: &Run,
    image: &ImageName,
    step: &CallContext<'_>,
) -> Result<ImageId, StepError> {
    station.images.check_retag(&run.image.parse()?, image)?;
    let image_id = station.image_id(&ImageSource::Name(image.clone()))?;
    step.annotate(|entry| {
        entry.images = Some(ImageIds { name: Some(image.to_string()), input: Some(image_id.to_string()), output: None });
    });
    if !order.no_results && run.opened_image.as_ref() == Some(&image_id) {
        // Whatever ran, its container was not committed under this name.
        return Err(StepError::Unchanged { id: run.id, image: image.to_string() });
    }
    station.ledger.begin_closing(run.id, &image_id)?;
    failpoint::point("post-run/intent");
    step.end_phase("intent");
    Ok(image_id)
}

/// Closes the run; undoes everything if that fails.
fn complete(closing: &ClosingRun<'_>) -> Result<PostRunAnswer, StepError> {
    let ClosingRun { station, run, image_id, step, .. } = *closing;
    match closing.close() {
        Ok(mut record) => {
            if let Err(error) = recover::complete(station, run, Some(image_id), &mut record) {
                // The name has moved, so this is completed and not undone.
                recover::note_recovery_failure(station, run.id, &error);
                return Err(error);
            }
            failpoint::point("post-run/completed");
            step.end_phase("clean");
            step.log_phases("post-run", run.id, "done");
            annotate_outcome(&record, step);
            Ok(PostRunAnswer { run_id: run.id, record, repeated: false })
        }
        Err(error) => {
            if let Err(second) = recover::roll_back_closing(station, run.id) {
                recover::note_recovery_failure(station, run.id, &second);
            }
            Err(error)
        }
    }
}

/// Notes the outcome for the record of the step.
fn annotate_outcome(record: &PostRunRecord, step: &CallContext<'_>) {
    step.annotate(|entry| {
        entry.images.get_or_insert_default().output = Some(record.image_id.to_string());
        entry.digests.get_or_insert_default().results_out = Some(record.results_digest.clone());
        entry.rules = rule_report::recorded(&record.rules);
    });
}

/// Returns the run that a call refers to.
fn find_run(station: &Station, order: &PostRunOrder, step: &CallContext<'_>) -> Result<Run, StepError> {
    match (&order.run_id, &order.image) {
        (Some(id), _) => named_run(station, id, step),
        (None, Some(image)) => {
            let id = station.image_id(&ImageSource::Name(image.clone()))?;
            // Only the session is read from the image after the run: it identifies the run, and proves nothing.
            let train = AuthorizedTrain::authorize_image(&*station.images.files(&id)?, step)?;
            station
                .ledger
                .of_session(&station.id, &train.document().session_id)?
                .ok_or_else(|| StepError::NoRunOfImage(image.clone()))
        }
        (None, None) => Err(StepError::Request("name a run_id or an image")),
    }
}
