//! Whether the train's base can be what is pushed on: the sealed image is made on it, so its layers leave the station, too.
//!
//! Every layer of a base comes from outside except where somebody here let the name `base` stand for an opened train. Such a base
//! either has our own instruction in its history, or shows the code in plaintext; one file of the code tells.

use super::rules::broken;
use crate::{
    image::{
        ImageError,
        oci::image_config::ImageMetadata,
        opt::reader::{TrainDir, read_file},
    },
    ledger::Run,
    protocol::{
        StepError,
        admission::verify::{OpenableTrain, Verified},
        content::write_plaintext::INSTRUCTION,
        context::station::{CallContext, Station},
    },
    train::{digest::FileHasher, rule::Rule},
};

/// A sealed file of this length or less is empty inside, in bytes: all that is empty looks alike.
const EMPTY: u64 = 32;

/// Refuses a base that an opened train is in, as far as its history tells.
pub(in crate::protocol) fn check_history(station: &Station, base: &ImageMetadata) -> Result<(), StepError> {
    let is_opened = base.history.iter().any(|entry| entry.created_by == INSTRUCTION);
    if is_opened && station.enforces(Rule::NoPlaintextLayers) {
        return Err(broken(Rule::NoPlaintextLayers, "the base was made from an opened train").into());
    }
    Ok(())
}

/// Refuses a base that shows the train's code: its smallest file is compared.
pub(in crate::protocol) fn check_code(
    station: &Station,
    run: &Run,
    train: &Verified<OpenableTrain>,
    step: &CallContext<'_>,
) -> Result<(), StepError> {
    // What arrived as the base itself has just been read, and was sealed.
    if !station.enforces(Rule::NoPlaintextLayers) || run.base_image == run.source_image {
        return Ok(());
    }
    let files = train.opened_files().filter(|file| file.extent.len > EMPTY);
    let Some(smallest) = files.min_by_key(|file| file.extent.len) else { return Ok(()) };
    let path = smallest.path.as_str();
    let files = station.images.files(&run.base_image)?;
    let name = path.rsplit('/').next().unwrap_or(path);
    let found = files
        .read(&format!("/{}/{path}", TrainDir::Train.path()), &step.cancel)
        .and_then(|archive| read_file(archive, name.as_bytes()));
    let bytes = match found {
        Ok(bytes) => bytes,
        // Not there, or no such file: not this plaintext.
        Err(ImageError::PathMissing | ImageError::Policy { .. } | ImageError::Limit(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut digest = FileHasher::new();
    digest.update(&bytes);
    let digest = const_hex::encode(digest.finish());
    if train.files.iter().any(|file| file.path == path && file.sha256 == digest) {
        return Err(broken(Rule::NoPlaintextLayers, format!("the base shows {path} in plaintext")).into());
    }
    Ok(())
}
