//! Verify: reports what a train proves of itself to any caller. Uses no key and changes nothing.
//!
//! A failed rule is reported, not refused. Only unreadable input is an error.

use std::io::Read;

use stationmaster_image::{
    ImageError,
    archive::source::ImageInput,
    oci::reference::ImageSource,
    opt::{train_archive::read_train_at, train_collector::TrainFiles},
};
use stationmaster_train::{
    keys::PublicKey,
    proof::{KeyHolder, Proof, prove},
};

use crate::{
    protocol::{
        admission::station::Station,
        content::train_document::TrainDocument,
        context::{call_context::CallContext, error::StepError},
    },
    trust::{KeyVerdict, OwnerKind, TrustMode},
};

/// Result of the verification of a train.
pub struct Verification {
    /// `@id`.
    pub train_id: String,
    /// The train session, raw bytes.
    pub session_id: Vec<u8>,
    /// The outcome of each rule.
    pub proof: Proof,
}

/// Returns the trust store's verdict on an id and a key.
pub type Judge<'a> = &'a dyn Fn(OwnerKind, &str, &PublicKey) -> KeyVerdict;

/// Verifies a train in one of the station's images: `/opt` is read once.
pub fn verify_image(station: &Station, image: &ImageSource, step: &CallContext<'_>) -> Result<Verification, StepError> {
    let image_id = station.image_id(image)?;
    let files = station.images.files(&image_id)?;
    let verification = match verify_read(station, files.read("/opt", &step.cancel)?, step) {
        Err(error @ StepError::NotATrain) => return Err(step.authorize_absence(error)),
        other => other?,
    };
    step.authorize_train(&verification.train_id, &verification.session_id, None)?;
    Ok(verification)
}

/// Verifies a train in an archive, as [`verify_archive`], with the keys that this station trusts.
pub fn verify_for_station(station: &Station, archive: impl Read, step: &CallContext<'_>) -> Result<Verification, StepError> {
    // The archive is the caller's own.
    step.may_tell();
    verify_read(station, archive, step)
}

fn verify_read(station: &Station, archive: impl Read, step: &CallContext<'_>) -> Result<Verification, StepError> {
    // Without a trust file, or in embedded mode, no key is known: the report then equals that of any other caller.
    let trusted = station.trust.current().ok().filter(|trusted| trusted.mode() != TrustMode::Embedded);
    match &trusted {
        Some(trusted) => {
            verify_archive(archive, Some(&|kind, id, key| trusted.check_key(kind, id, key)), &|| step.check_reading())
        }
        None => verify_archive(archive, None, &|| step.check_reading()),
    }
}

/// Verifies a train in an archive: of `/opt` as an engine exports it, of the extractor's output, or of `docker save`. `check` is
/// called regularly and may cancel. Memory is constant except for names. Without `trust` no key is known.
pub fn verify_archive(
    archive: impl Read,
    trust: Option<Judge<'_>>,
    check: &dyn Fn() -> Result<(), ImageError>,
) -> Result<Verification, StepError> {
    verify_place(ImageInput::archive(archive), trust, check)
}

/// As [`verify_archive`], for a train at any place, including an OCI layout directory.
///
/// # Errors
/// When it cannot be read.
pub fn verify_place(
    place: ImageInput<'_>,
    trust: Option<Judge<'_>>,
    check: &dyn Fn() -> Result<(), ImageError>,
) -> Result<Verification, StepError> {
    let files = match read_train_at(place, check) {
        Err(ImageError::PathMissing) => return Err(StepError::NotATrain),
        other => other?,
    };
    Ok(verify_files(files, trust)?.0)
}

/// Returns what the files of a train prove, and its config.
pub(in crate::protocol) fn verify_files(
    files: TrainFiles,
    trust: Option<Judge<'_>>,
) -> Result<(Verification, TrainDocument), StepError> {
    let TrainFiles { config, found, share: _share } = files;
    let document = TrainDocument::parse(config.ok_or(StepError::NotATrain)?)?;
    let config = &document.config;
    let proof = match trust {
        None => prove(config, found, None),
        Some(judge) => {
            let is_pinned = |who: KeyHolder<'_>, key: &PublicKey| {
                let (kind, id) = match who {
                    KeyHolder::Creator(id) => (OwnerKind::Creator, id),
                    KeyHolder::Station(id) => (OwnerKind::Station, id),
                };
                judge(kind, &id.to_string(), key) == KeyVerdict::Trusted
            };
            prove(config, found, Some(&is_pinned))
        }
    };
    let verification = Verification { train_id: config.id.clone(), session_id: document.session_id.clone(), proof };
    Ok((verification, document))
}
