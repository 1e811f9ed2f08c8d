//! Hash: computes the digests of an image and of the train in it.

use stationmaster_image::{
    disk::spool::Spool,
    filesystem::{canonical::TreeDigest, tree_digest::digest_of},
    oci::reference::{ImageId, ImageSource},
    opt::reader::{TrainTreeSink, read_opt},
    store::ImageFiles,
};
use stationmaster_train::{
    config::TrainConfig,
    digest::{Digest, ImmutableHasher},
    envelope::EnvelopeKey,
    names::FilePath,
    route::position_of,
};

use crate::protocol::{
    admission::{
        admit::StopOnRoute,
        authorize::AuthorizedTrain,
        immutable_files::listing_of,
        station::Station,
        trust_check::{TrustCheck, TrustPhase},
    },
    content::{read_sealed::Destination, seal::seal_run, sealed_contents::Contents, train_document::TrainDocument},
    context::{call_context::CallContext, error::StepError, rule_log::RuleLog},
};

/// The digests of an image.
pub struct ImageDigests {
    /// The engine's image id.
    pub image_id: ImageId,
    /// Digest of the final file tree; `None` if it was not requested.
    pub tree: Option<TreeDigest>,
    /// Digests of the train in the image.
    pub train: Result<TrainDigests, TrainAbsent>,
}

/// The digests of a train's plaintext.
pub struct TrainDigests {
    /// Digest of the immutable files.
    pub immutable: Digest,
    /// Digest of the results.
    pub results: Digest,
    /// Whether the digest of the immutable files equals the one in the config.
    pub immutable_matches: bool,
    /// Whether the content was sealed.
    pub sealed: bool,
}

/// The reason why an image has no train digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrainAbsent {
    /// The image has no train config.
    NotATrain,
    /// The content is sealed, and this station is not on the route.
    NotOnRoute,
    /// The content is sealed, and it is not this station's turn.
    NotOurTurn,
    /// The content is sealed for a key that this station does not hold.
    NoKey,
}

/// Hashes an image and the train in it.
///
/// Plain content is hashed as it is. Content that differs from what the creator signed is treated as sealed, and is opened only
/// if it is this station's turn, the train is admitted (creator and earlier stops are trusted, as for reading its results), and
/// every check of a pre-run succeeds: otherwise this step would be a decryption oracle.
pub fn hash_image(
    station: &Station,
    image: &ImageSource,
    train_only: bool,
    step: &CallContext<'_>,
) -> Result<ImageDigests, StepError> {
    let image_id = station.image_id(image)?;
    step.annotate(|entry| entry.images.get_or_insert_default().input = Some(image_id.to_string()));
    let files = station.images.files(&image_id)?;
    let train = match AuthorizedTrain::authorize_image(&*files, step) {
        Err(StepError::NotATrain) => Err(TrainAbsent::NotATrain),
        train => train_digests(station, &*files, train?, step)?,
    };
    drop(files);
    let tree = if train_only {
        None
    } else {
        let image = station.images.metadata(&image_id)?;
        let place = station.images.input(&image_id, &step.cancel)?;
        Some(digest_of(place, Some(&image.layers), |read| (step.progress)("hash", read, image.size))?.0)
    };
    Ok(ImageDigests { image_id, tree, train })
}

fn train_digests(
    station: &Station,
    files: &dyn ImageFiles,
    train: AuthorizedTrain,
    step: &CallContext<'_>,
) -> Result<Result<TrainDigests, TrainAbsent>, StepError> {
    match plain_digests(station, files, train.document(), step)? {
        Some(digests) => Ok(Ok(digests)),
        None => sealed_digests(station, files, train, step),
    }
}

/// Hashes the content as it is; `None` if it is not what the creator signed.
fn plain_digests(
    station: &Station,
    files: &dyn ImageFiles,
    document: &TrainDocument,
    step: &CallContext<'_>,
) -> Result<Option<TrainDigests>, StepError> {
    let TrainDocument { config, session_id, .. } = document;
    // Immutable files are hashed in the list's order, so plain ones also wait in the spool, sealed with a temporary random key.
    let key = EnvelopeKey::random().map_err(|_| StepError::Invariant("no random key"))?;
    let read = |sink: &mut dyn TrainTreeSink<Error = StepError>| read_opt(files.read("/opt", &step.cancel)?, sink).map(drop);
    let plain = seal_run(read, spool(station)?, &key, session_id, None, &RuleLog::default(), step)?;
    let immutable = immutable_digest(config, &plain.contents, &key, session_id)?;
    let is_signed = Digest::from_hex(&config.hash).is_ok_and(|signed| signed == immutable);
    Ok(is_signed.then_some(TrainDigests { immutable, results: plain.results_digest, immutable_matches: true, sealed: false }))
}

/// Opens and hashes sealed content, if it is this station's turn and the train is admitted.
fn sealed_digests(
    station: &Station,
    files: &dyn ImageFiles,
    train: AuthorizedTrain,
    step: &CallContext<'_>,
) -> Result<Result<TrainDigests, TrainAbsent>, StepError> {
    let config = &train.document().config;
    if position_of(config, &station.id).is_err() {
        return Ok(Err(TrainAbsent::NotOnRoute));
    }
    let Ok(stop) = StopOnRoute::to_run(config, &station.id) else { return Ok(Err(TrainAbsent::NotOurTurn)) };
    let trust = TrustCheck { trusted: &station.trusted_keys()?, phase: TrustPhase::ToRead };
    let admitted = match train.admit(station, stop, trust, step) {
        Err(StepError::ForeignRouteKey) => return Ok(Err(TrainAbsent::NoKey)),
        other => other?,
    };
    if admitted.wrapped_key().is_none() {
        return Ok(Err(TrainAbsent::NoKey));
    }
    let destination = Destination { spool: spool(station)?, working_dir: None, expected: 0 };
    let train = admitted.unwrap_key(station, step)?.read(files, destination, step)?.verify(&station.policy, step)?;
    let results = train.results_digest.unwrap_or_else(|| Digest::of(&train.admitted().document().session_id));
    Ok(Ok(TrainDigests { immutable: train.immutable_digest, results, immutable_matches: true, sealed: true }))
}

fn spool(station: &Station) -> Result<Spool, StepError> {
    Ok(Spool::create(&station.spool_directory, 0, station.spool_reserve)?)
}

fn immutable_digest(
    config: &TrainConfig,
    contents: &Contents,
    key: &EnvelopeKey,
    session_id: &[u8],
) -> Result<Digest, StepError> {
    let listing = listing_of(config, contents, &RuleLog::default())?;
    let mut hasher = ImmutableHasher::new(&config.creator.id);
    let hash = |path: &FilePath, hasher: &mut dyn FnMut(&[u8])| match contents.train.file(path) {
        None => Ok(false),
        Some(file) => contents
            .open_file(key, file.extent, |plain| {
                hasher(plain);
                Ok(())
            })
            .map(|()| true),
    };
    for path in listing.names() {
        hash(path, &mut |plain| hasher.update(plain))?;
    }
    let mut query = zeroize::Zeroizing::new(Vec::new());
    let found = hash(&FilePath::query(), &mut |plain| query.extend_from_slice(plain))?;
    Ok(hasher.finish(session_id, found.then_some(query.as_slice())))
}
