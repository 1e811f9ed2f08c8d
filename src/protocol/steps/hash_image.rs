//! Hash: computes the digests of an image and of the train in it.

use stationmaster_image::{
    disk::spool::Spool,
    filesystem::{canonical::TreeDigest, tree_digest::digest_of},
    oci::reference::ImageSource,
    opt::reader::{TrainTreeSink, read_opt},
    store::ImageFiles,
};
use stationmaster_train::{
    config::TrainConfig,
    digest::{Digest, ImmutableHasher},
    envelope::EnvelopeKey,
    names::FilePath,
    route::{own_stop, position_of},
};

use crate::protocol::{
    Arriving, StepError,
    admission::{
        trust_check::TrustPhase,
        verify::{listing_of, verify_train},
    },
    content::{
        read_sealed::{TrainDocument, read_sealed, read_train_config},
        seal::seal_run,
        sealed_contents::Contents,
    },
    context::station::{CallContext, Station},
};

/// The digests of an image.
pub struct ImageDigests {
    /// The engine's image id.
    pub image_id: String,
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
    step.annotate(|entry| entry.images.get_or_insert_default().input = Some(image_id.clone()));
    let files = station.images.files(&image_id)?;
    let train = match read_train_config(&*files, step) {
        Err(StepError::NotATrain) => Err(TrainAbsent::NotATrain),
        arrived => train_digests(station, &*files, &arrived?, step)?,
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
    arrived: &TrainDocument,
    step: &CallContext<'_>,
) -> Result<Result<TrainDigests, TrainAbsent>, StepError> {
    let spool = || Spool::create(&station.spool_directory, 0, station.spool_reserve);
    // Immutable files are hashed in the list's order, so plain ones also wait in the spool, sealed with a temporary random key.
    let moment = EnvelopeKey::random().map_err(|_| StepError::Invariant("no random key"))?;
    let read = |sink: &mut dyn TrainTreeSink<Error = StepError>| read_opt(files.read("/opt", &step.cancel)?, sink).map(drop);
    let plain = seal_run(read, spool()?, &moment, &arrived.session_id, None, step)?;
    let immutable = immutable_digest(&arrived.config, &plain.contents, &moment, &arrived.session_id)?;
    if Digest::from_hex(&arrived.config.hash).is_ok_and(|signed| signed == immutable) {
        return Ok(Ok(TrainDigests { immutable, results: plain.results_digest, immutable_matches: true, sealed: false }));
    }
    drop(plain);
    if position_of(&arrived.config, &station.id).is_err() {
        return Ok(Err(TrainAbsent::NotOnRoute));
    }
    let Ok(own) = own_stop(&arrived.config, &station.id) else { return Ok(Err(TrainAbsent::NotOurTurn)) };
    let arriving = Arriving { config: &arrived.config, session_id: &arrived.session_id, own: &own };
    let admitted = match station.admit(arriving, &station.trusted_keys()?, TrustPhase::ToRead, step) {
        Err(StepError::ForeignRouteKey) => return Ok(Err(TrainAbsent::NoKey)),
        other => other?,
    };
    if admitted.wrapped_key().is_none() {
        return Ok(Err(TrainAbsent::NoKey));
    }
    let key = station.unwrap_envelope_key(&admitted, step)?;
    let results = (!own.is_first()).then_some((&key, arrived.session_id.as_slice()));
    let (contents, results) = read_sealed(files, spool()?, results, None, 0, step)?;
    let train = verify_train(&station.policy, arrived, &own, contents, key, results, step)?;
    let results = train.results_digest.unwrap_or_else(|| Digest::of(&arrived.session_id));
    Ok(Ok(TrainDigests { immutable: train.immutable_digest, results, immutable_matches: true, sealed: true }))
}

fn immutable_digest(
    config: &TrainConfig,
    contents: &Contents,
    key: &EnvelopeKey,
    session_id: &[u8],
) -> Result<Digest, StepError> {
    let listing = listing_of(config, contents)?;
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
