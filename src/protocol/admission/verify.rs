//! Verification of trains: the only module that makes a verified train.

use stationmaster_image::ImageError;
use stationmaster_train::{
    config::TrainConfig,
    digest::{Digest, FileHasher, ImmutableHasher},
    envelope::EnvelopeKey,
    names::{FilePath, Listing},
    route::OwnStop,
    rule::Rule,
    verify,
};

use super::implicit_rejection::ProvisionalKey;
use crate::{
    ledger::FileDigest,
    protocol::{
        CallContext, StepError,
        checks::rules::Policy,
        content::{
            read_sealed::TrainDocument,
            sealed_contents::{Contents, StoredFile},
        },
    },
};

/// Longest query that is read into memory, in bytes of plaintext.
const QUERY_LIMIT: u64 = 2 * 1024 * 1024;

/// A value whose checks have all passed. Only [`verify_state`] makes one.
pub(in crate::protocol) struct Verified<T>(T);

impl Verified<OpenableTrain> {
    /// Returns the content and its key, for callers that do not need the rest.
    pub(crate) fn into_parts(self) -> (Contents, EnvelopeKey) {
        (self.0.contents, self.0.key)
    }
}

impl<T> std::ops::Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// A train's content and its verified digests.
pub(in crate::protocol) struct OpenableTrain {
    pub contents: Contents,
    pub listing: Listing,
    /// Whether unlisted files are included.
    unlisted_too: bool,
    pub key: EnvelopeKey,
    pub query: Option<zeroize::Zeroizing<Vec<u8>>>,
    /// Digests of the listed files and the query.
    pub files: Vec<FileDigest>,
    pub immutable_digest: Digest,
    /// Digest of the results; `None` before the first stop.
    pub results_digest: Option<Digest>,
}

impl OpenableTrain {
    /// Returns the immutable files that were hashed, and the query, in the engine's order; all files where the rule is relaxed.
    pub(crate) fn opened_files(&self) -> impl Iterator<Item = &StoredFile> {
        let is_opened = |file: &&StoredFile| self.unlisted_too || file.path.is_query() || self.listing.contains(&file.path);
        self.contents.train.files.iter().filter(is_opened)
    }

    /// Returns the paths of immutable files that were left out because `file_list` does not name them.
    pub(crate) fn unlisted_files(&self) -> Vec<String> {
        if self.unlisted_too {
            return Vec::new();
        }
        unlisted(&self.contents, &self.listing).map(|file| file.path.as_str().to_owned()).collect()
    }
}

/// Returns the immutable files that `file_list` does not name.
fn unlisted<'a>(contents: &'a Contents, listing: &'a Listing) -> impl Iterator<Item = &'a StoredFile> {
    contents.train.files.iter().filter(|file| !file.path.is_query() && !listing.contains(&file.path))
}

/// Verifies a train as [`verify_state`] does, at this station's own stop: the stops before it have signed.
pub(in crate::protocol) fn verify_train(
    policy: &Policy,
    arrived: &TrainDocument,
    own: &OwnStop,
    contents: Contents,
    key: ProvisionalKey,
    results_digest: Option<Digest>,
    step: &CallContext<'_>,
) -> Result<Verified<OpenableTrain>, StepError> {
    verify_state(policy, (arrived, own.index()), contents, key, results_digest, step)
}

/// Verifies everything that a station can verify of a sealed train which `signed` stops have signed: code, creator, builder,
/// chain and results. Every check runs even if an earlier one failed; the refusal comes at the end.
pub(in crate::protocol) fn verify_state(
    policy: &Policy,
    (arrived, signed): (&TrainDocument, usize),
    contents: Contents,
    key: ProvisionalKey,
    results_digest: Option<Digest>,
    step: &CallContext<'_>,
) -> Result<Verified<OpenableTrain>, StepError> {
    let TrainDocument { config, session_id, .. } = arrived;
    let listing = listing_of(config, &contents)?;
    let total: u64 = contents.train.files.iter().map(|file| file.extent.len).sum();
    let mut done = 0;
    let mut hasher = ImmutableHasher::new(&config.creator.id);
    let mut files = Vec::with_capacity(listing.names().len());
    for path in listing.names() {
        let file = contents.train.file(path).ok_or_else(|| missing(path))?;
        let mut digest = FileHasher::new();
        key.defer(contents.open_file(key.key(), file.extent, |plain| {
            step.check_cancelled()?;
            hasher.update(plain);
            digest.update(plain);
            done += plain.len() as u64;
            (step.progress)("verify", done, total);
            Ok(())
        }))?;
        files.push(file_digest(path, digest));
    }
    let unlisted_too = !policy.rules.holds(Rule::UnlistedFiles);
    if unlisted_too {
        // No signature covers these files; post-run still detects whether the run changed them.
        for file in unlisted(&contents, &listing) {
            let mut digest = FileHasher::new();
            key.defer(contents.open_file(key.key(), file.extent, |plain| {
                step.check_cancelled()?;
                digest.update(plain);
                Ok(())
            }))?;
            files.push(file_digest(&file.path, digest));
        }
    }
    let query = read_query(&contents, &key)?;
    if let Some(query) = &query {
        let mut digest = FileHasher::new();
        digest.update(query);
        files.push(file_digest(&FilePath::query(), digest));
    }
    let immutable_digest = hasher.finish(session_id, query.as_ref().map(|query| query.as_slice()));
    let believed = |proof: Result<(), verify::Distrust>| key.defer(proof.map_err(StepError::untrusted));
    believed(verify::verify_creator_and_build(config, &immutable_digest))?;
    if signed > 0 {
        let digest = results_digest.as_ref().ok_or(StepError::Invariant("results were not hashed"))?;
        believed(verify::verify_chain(config, signed))?;
        if policy.rules.holds(Rule::SignaturesApart) {
            believed(verify::verify_signatures_apart(config, signed))?;
        }
        believed(verify::verify_results(config, signed, digest))?;
    }
    let key = key.verdict()?;
    Ok(Verified(OpenableTrain { contents, listing, unlisted_too, key, query, files, immutable_digest, results_digest }))
}

/// Returns the names to hash. Fails if one of them has no file.
pub(in crate::protocol) fn listing_of(config: &TrainConfig, contents: &Contents) -> Result<Listing, StepError> {
    let listing = Listing::new(&config.file_list)
        .map_err(|error| StepError::rule(Rule::PlainNames, format!("file_list entry {}: {}", error.position, error.cause)))?;
    if let Some(absent) = listing.names().iter().find(|path| contents.train.file(path).is_none()) {
        return Err(missing(absent));
    }
    Ok(listing)
}

fn missing(path: &FilePath) -> StepError {
    StepError::rule(Rule::ListedFilesPresent, path.as_str())
}

fn file_digest(path: &FilePath, digest: FileHasher) -> FileDigest {
    FileDigest { path: path.as_str().to_owned(), sha256: const_hex::encode(digest.finish()) }
}

fn read_query(contents: &Contents, key: &ProvisionalKey) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, StepError> {
    let Some(file) = contents.train.file(&FilePath::query()) else { return Ok(None) };
    if file.extent.len > QUERY_LIMIT {
        return Err(ImageError::Limit("bytes of query.json").into());
    }
    let mut query = zeroize::Zeroizing::new(Vec::with_capacity(file.extent.len as usize));
    key.defer(contents.open_file(key.key(), file.extent, |plain| {
        query.extend_from_slice(plain);
        Ok(())
    }))?;
    Ok(Some(query))
}
