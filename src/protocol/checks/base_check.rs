//! Base check: detects plaintext in the base that a sealed image is made on, because the base's layers leave the station too.
//!
//! A base's layers come from outside, unless its name was given to an opened train on this station. Such a base either has this
//! service's instruction in its history, or contains the code in plaintext; comparing one file of the code detects it.

use stationmaster_image::{
    ImageError,
    oci::image_config::ImageMetadata,
    opt::{reader::read_file, train_dirs::TrainDir},
};
use stationmaster_train::{digest::Sha256Digest, envelope::MIN_SEALED_LEN, rule::Rule};

use crate::{
    ledger::Run,
    protocol::{
        admission::{
            station::Station,
            verify::{OpenableTrain, VerifiedTrain},
        },
        context::{call_context::CallContext, error::StepError},
    },
};

/// The history entry of an opened image: no sealed image may have it in its base.
pub(in crate::protocol) const INSTRUCTION: &str = "stationmaster pre-run";

/// The extent of the check, for the report.
const EXTENT: &str = "the base's history, and one file of its code: it was not made from an opened train";

/// Refuses a base whose history shows an opened train.
pub(in crate::protocol) fn check_history(station: &Station, base: &ImageMetadata) -> Result<(), StepError> {
    let is_opened = base.history.iter().any(|entry| entry.created_by == INSTRUCTION);
    if is_opened && station.enforces(Rule::NoPlaintextLayers) {
        return Err(StepError::rule(Rule::NoPlaintextLayers, "the base was made from an opened train"));
    }
    Ok(())
}

/// Refuses a base that contains the train's code in plaintext: the smallest file of the code is compared.
pub(in crate::protocol) fn check_code(
    station: &Station,
    run: &Run,
    train: &VerifiedTrain,
    step: &CallContext<'_>,
) -> Result<(), StepError> {
    let rules = train.admitted().rules();
    if !station.enforces(Rule::NoPlaintextLayers) {
        rules.relaxed(Rule::NoPlaintextLayers);
        return Ok(());
    }
    // An image that arrived as the base itself has just been read, and was sealed.
    if run.base_image != run.source_image {
        compare_smallest_file(station, run, train, step)?;
    }
    rules.checked_as(Rule::NoPlaintextLayers, EXTENT);
    Ok(())
}

fn compare_smallest_file(station: &Station, run: &Run, train: &OpenableTrain, step: &CallContext<'_>) -> Result<(), StepError> {
    // Files of the smallest size may be empty, and empty files are alike.
    let files = train.opened_files().filter(|file| file.extent.len > MIN_SEALED_LEN);
    let Some(smallest) = files.min_by_key(|file| file.extent.len) else { return Ok(()) };
    let path = smallest.path.as_str();
    let files = station.images.files(&run.base_image)?;
    let name = path.rsplit('/').next().unwrap_or(path);
    let found = files
        .read(&format!("/{}/{path}", TrainDir::Train.path()), &step.cancel)
        .and_then(|archive| read_file(archive, name.as_bytes()));
    let bytes = match found {
        Ok(bytes) => bytes,
        // The path or file does not exist, so this plaintext is not in the base.
        Err(ImageError::PathMissing | ImageError::Policy { .. } | ImageError::Limit(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let digest = Sha256Digest::of(&bytes);
    if train.files.iter().any(|file| file.path == path && file.sha256 == digest) {
        return Err(StepError::rule(Rule::NoPlaintextLayers, format!("the base shows {path} in plaintext")));
    }
    Ok(())
}
