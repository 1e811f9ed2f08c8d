//! Recovery: undoes or finishes runs after a failure, a cancellation or a crash.
//!
//! Each function may be repeated. Names refer to the old or the new image, never to an incomplete one; an image that was
//! announced but not named is removed.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use stationmaster_image::{
    ImageError,
    oci::reference::{ImageId, ImageName, ImageSource},
    store::PinnedImage,
};
use stationmaster_system::failpoint;
use tokio_util::sync::CancellationToken;

use super::{runs::private_name, working_copy};
use crate::{
    audit::{Digests, Entry, Event, ImageIds, TrainRef},
    authz::Rpc,
    ledger::{OpenInto, PostRunRecord, Run, RunId, RunState},
    protocol::{
        admission::station::Station, checks::rule_report::recorded, content::train_document::TrainDocument,
        context::error::StepError,
    },
};

/// Finishes or rolls back every interrupted run, and removes containers that an earlier process left. For startup.
pub fn recover(station: &Station) -> Result<(), StepError> {
    if let Some(containers) = &station.containers {
        let removed = containers.remove_stale()?;
        if removed > 0 {
            tracing::warn!(containers = removed, "removed containers that an earlier process left");
        }
    }
    for run in station.ledger.cut_off()? {
        recover_run(station, &run)?;
    }
    record_completions(station)?;
    station.recovered.store(true, Ordering::Release);
    Ok(())
}

/// Retries what failed while the engine was unavailable (remaining containers, roll-backs of runs without a working call), and
/// ends runs that an administrator has given up: those are known from the ledger alone.
pub fn retry_recovery(station: &Station) -> Result<(), StepError> {
    if let Some(containers) = &station.containers {
        containers.retry_pending_removals();
    }
    let is_pending = station.recovery_pending.swap(false, Ordering::AcqRel);
    let outcome = if is_pending { station.ledger.cut_off() } else { station.ledger.aborting() };
    let outcome = outcome.map_err(StepError::from).and_then(|runs| {
        for run in runs {
            // A claimed run is in progress, not interrupted; an interrupted one may have continued before this claim.
            let Ok(_claim) = station.claim(&run.session_id) else { continue };
            if let Some(run) = station.ledger.run(run.id)? {
                recover_run(station, &run)?;
            }
        }
        if is_pending { record_completions(station) } else { Ok(()) }
    });
    if is_pending && outcome.is_err() {
        station.recovery_pending.store(true, Ordering::Release);
    }
    outcome
}

/// Notes a failed roll-back: the next response of the engine, call or startup tries again.
pub(in crate::protocol) fn note_recovery_failure(station: &Station, run_id: RunId, error: &StepError) {
    station.recovery_pending.store(true, Ordering::Release);
    tracing::error!(run = %run_id, %error, "a step that failed could not be rolled back yet");
}

/// Finishes or rolls back one interrupted run.
pub(in crate::protocol) fn recover_run(station: &Station, run: &Run) -> Result<(), StepError> {
    let outcome = match run.state {
        RunState::Opening if run.pre_run.is_some() && is_named(station, run)? => {
            station.ledger.advance(run.id, RunState::Opening, RunState::Prepared)?;
            "completed"
        }
        RunState::Opening => {
            roll_back_opening(station, run.id, "cut off")?;
            "rolled back"
        }
        RunState::Closing => match &run.post_run {
            Some(record) if image_tagged(station, &record.image)? == run.sealed_image => {
                let mut record = record.clone();
                if station.compat.move_latest {
                    station.images.tag(&record.image_id, &record.image.parse::<ImageName>()?.with_tag("latest"))?;
                }
                complete(station, run, run.closing_image.as_ref(), &mut record)?;
                // With what is stored now: `complete` has noted what still holds plaintext.
                record_completion(station, &station.run(run.id)?)?;
                "completed"
            }
            _ => {
                roll_back_closing(station, run.id)?;
                "rolled back"
            }
        },
        RunState::Aborting => {
            let held = finish_abort(station, run)?;
            if !held.is_empty() {
                tracing::error!(run = %run.id, held = ?held, "what still holds plaintext of an aborted run");
            }
            "completed"
        }
        _ => return Ok(()),
    };
    tracing::warn!(run = %run.id, state = run.state.as_str(), outcome, "a step that was cut off");
    Ok(())
}

/// Records that a run is completed, as the call that was cut off would have done: otherwise nothing in the audit log shows that a ledger in
/// which the run is still open is an older one.
fn record_completion(station: &Station, run: &Run) -> Result<(), StepError> {
    let record = run.post_run.as_ref();
    let entry = Entry {
        rpc: Some(Rpc::PostRun.name().to_owned()),
        run: Some(run.id.to_string()),
        train: Some(TrainRef {
            id: run.train_id.clone(),
            session: const_hex::encode(&run.session_id),
            stop: run.stop_index.get(),
        }),
        images: Some(ImageIds {
            name: record.map(|record| record.image.clone()),
            input: run.closing_image.as_ref().map(ImageId::to_string),
            output: record.map(|record| record.image_id.to_string()),
        }),
        digests: record.map(|record| Digests { results_out: Some(record.results_digest.clone()), ..Digests::default() }),
        outcome: Some("ok".to_owned()),
        rules: record.map(|record| recorded(&record.rules)).unwrap_or_default(),
        ..Entry::of(Event::Step)
    };
    station.keys.audit().record(entry.with("recovered", true))?;
    Ok(station.ledger.completion_recorded(run.id)?)
}

/// Records completions that no record shows: the process ended, or the audit failed, between the commit of a run and its record.
fn record_completions(station: &Station) -> Result<(), StepError> {
    for id in station.ledger.unrecorded_completions()? {
        let Some(run) = station.ledger.run(id)? else {
            station.ledger.completion_recorded(id)?;
            continue;
        };
        // A call in progress records it by itself.
        if let Ok(_claim) = station.claim(&run.session_id) {
            record_completion(station, &run)?;
        }
    }
    Ok(())
}

/// Returns the image that a name refers to now.
fn image_tagged(station: &Station, name: &str) -> Result<Option<ImageId>, StepError> {
    Ok(station.images.find(&ImageSource::Name(name.parse()?))?)
}

/// Whether the opened content is under its name; content outside an image needs none.
fn is_named(station: &Station, run: &Run) -> Result<bool, StepError> {
    Ok(run.opened_into != OpenInto::Image || image_tagged(station, &run.image)? == run.opened_image)
}

/// Undoes a pre-run: moves the name back to the sealed image, removes the opened image and frees the stop.
pub(in crate::protocol) fn roll_back_opening(station: &Station, run_id: RunId, reason: &str) -> Result<(), StepError> {
    let run = station.run(run_id)?;
    let mut held = Vec::new();
    if let Some(opened) = &run.opened_image {
        let name: ImageName = run.image.parse()?;
        if image_tagged(station, &run.image)?.as_ref() == Some(opened) {
            restore_sealed_image(station, &run, &name)?;
        }
        held = remove_announced(station, opened)?;
    }
    held.extend(working_copy::wipe(station, &run)?);
    if !held.is_empty() {
        tracing::error!(run = %run_id, held = ?held, "a run that failed left plaintext");
    }
    release(station, &run)?;
    station.ledger.fail_opening(run_id, reason, &held)?;
    failpoint::point("pre-run/failed");
    Ok(())
}

/// Removes an image that was announced and not named. An engine whose client has disconnected may still process what it was
/// sent, and create the image after the first check: a missing image is checked again for a short time.
///
/// Returns what holds the image if it cannot be removed: the image may have been found and used without a name, and another one
/// opened within the same second is the same image. No roll-back waits for that.
fn remove_announced(station: &Station, id: &ImageId) -> Result<Vec<String>, StepError> {
    const EVERY: Duration = Duration::from_millis(50);
    let (source, begun) = (ImageSource::Id(id.clone()), Instant::now());
    let patience = station.containers.as_ref().map_or(Duration::ZERO, |containers| containers.load_grace_period());
    while station.images.find(&source)?.is_none() && begun.elapsed() < patience {
        std::thread::sleep(EVERY);
    }
    match station.images.remove(id) {
        Err(ImageError::InUse) => {
            let mut held = station.images.images_using(id)?;
            held.push(format!("image:{id}"));
            Ok(held)
        }
        other => Ok(other.map(|()| Vec::new())?),
    }
}

/// Undoes a post-run: removes the sealed image and marks the run as prepared again.
pub(in crate::protocol) fn roll_back_closing(station: &Station, run_id: RunId) -> Result<(), StepError> {
    let run = station.run(run_id)?;
    if let (Some(sealed), Some(record), Some(before)) = (&run.sealed_image, &run.post_run, &run.closing_image)
        && image_tagged(station, &record.image)?.as_ref() == Some(sealed)
    {
        station.images.tag(before, &record.image.parse()?)?;
    }
    if let Some(sealed) = &run.sealed_image {
        let held = remove_announced(station, sealed)?;
        if !held.is_empty() {
            tracing::warn!(run = %run_id, held = ?held, "a sealed image that was not finished is left");
        }
    }
    Ok(station.ledger.advance(run_id, RunState::Closing, RunState::Prepared)?)
}

/// Moves the name back to the sealed image, deletes the plaintext and frees the stop. Returns what still holds plaintext.
pub(in crate::protocol) fn finish_abort(station: &Station, run: &Run) -> Result<Vec<String>, StepError> {
    let held = match run.opened_into {
        OpenInto::Image => restore_tag(station, run)?,
        OpenInto::Volume | OpenInto::Directory => working_copy::wipe(station, run)?,
    };
    release(station, run)?;
    station.ledger.end_abort(run.id, &held)?;
    Ok(held)
}

/// Gives the sealed image its name again and deletes the opened one. Returns what still holds plaintext.
fn restore_tag(station: &Station, run: &Run) -> Result<Vec<String>, StepError> {
    let name: ImageName = run.image.parse()?;
    let mut plaintext: Vec<ImageId> = run.opened_image.iter().cloned().collect();
    match image_tagged(station, &run.image)? {
        Some(now) if now == run.source_image => {}
        // Another train may have taken the name meanwhile: it is kept.
        Some(now) if Some(&now) != run.opened_image.as_ref() && !is_of_session(station, &now, &run.session_id)? => {
            tracing::warn!(run = %run.id, image = %run.image, "the name stands for another train now and is left alone");
        }
        now => {
            restore_sealed_image(station, run, &name)?;
            failpoint::point("abort/named");
            plaintext.splice(0..0, now.filter(|now| Some(now) != run.opened_image.as_ref()));
        }
    }
    Ok(remove_plaintext(station, &plaintext))
}

/// Moves a run's name back to the sealed image. A removed sealed image is not waited for, since every startup would wait again.
fn restore_sealed_image(station: &Station, run: &Run, name: &ImageName) -> Result<(), ImageError> {
    match station.images.tag(&run.source_image, name) {
        Err(ImageError::NotFound) => {
            tracing::error!(run = %run.id, image = %name, "the sealed image is gone: pull it again");
            // The name must not continue to refer to plaintext; if a container holds that plaintext, it is reported later.
            match station.images.untag(name) {
                Err(ImageError::InUse) => Ok(()),
                other => other,
            }
        }
        other => other,
    }
}

/// Cleans up after a run whose sealed image has its name, and then marks it as completed. Only in this order, because startup
/// wipes nothing of a completed run.
pub(in crate::protocol) fn complete(
    station: &Station,
    run: &Run,
    read_from: Option<&ImageId>,
    record: &mut PostRunRecord,
) -> Result<(), StepError> {
    clean_up_completed(station, run, read_from, record);
    station.ledger.record_post_run(run.id, record)?;
    failpoint::point("post-run/cleaned");
    Ok(station.ledger.complete(run.id)?)
}

/// Deletes what a completed run no longer needs, and notes what still holds plaintext.
pub(in crate::protocol) fn clean_up_completed(
    station: &Station,
    run: &Run,
    read_from: Option<&ImageId>,
    record: &mut PostRunRecord,
) {
    record.plaintext_held_by = match run.opened_into {
        OpenInto::Image => {
            let opened = run.opened_image.as_ref().filter(|opened| Some(*opened) != read_from);
            let plaintext: Vec<ImageId> = read_from.into_iter().chain(opened).cloned().collect();
            remove_plaintext(station, &plaintext)
        }
        OpenInto::Volume | OpenInto::Directory => {
            working_copy::wipe(station, run).unwrap_or_else(|error| vec![format!("unknown: {error}")])
        }
    };
    if let Err(error) = release(station, run) {
        tracing::warn!(run = %run.id, %error, "a private name of a completed run is left");
    }
}

/// Deletes plaintext images, newest first; returns what holds the remaining ones.
fn remove_plaintext(station: &Station, images: &[ImageId]) -> Vec<String> {
    let mut held = Vec::new();
    for image in images {
        let holders = match station.images.images_using(image) {
            Err(ImageError::NotFound) => continue,
            Err(error) => vec![format!("unknown: {error}")],
            Ok(holders) => holders,
        };
        // An image with another name belongs to the user who gave that name: removing it by id would remove the name.
        if holders.is_empty() {
            match station.images.remove(image) {
                Ok(()) => {
                    failpoint::point("wipe/image");
                    continue;
                }
                Err(error) => tracing::warn!(image = image.to_string(), %error, "a plaintext image could not be removed"),
            }
            held.push(format!("image:{image}"));
        }
        held.extend(holders);
    }
    held.sort();
    held.dedup();
    held
}

/// Removes the private names of a run.
fn release(station: &Station, run: &Run) -> Result<(), ImageError> {
    failpoint::point("release/begun");
    station.images.untag(&private_name(station, PinnedImage::Sealed, run)?)?;
    failpoint::point("release/half");
    station.images.untag(&private_name(station, PinnedImage::Base, run)?)
}

fn is_of_session(station: &Station, image_id: &ImageId, session_id: &[u8]) -> Result<bool, StepError> {
    let document = TrainDocument::read(&*station.images.files(image_id)?, &CancellationToken::new());
    Ok(document.is_ok_and(|document| document.session_id == session_id))
}
