//! Verification of trains: the only module that makes a verified train.

use stationmaster_image::ImageError;
use stationmaster_train::{
    config::TrainConfig,
    digest::{Digest, FileHasher, ImmutableHasher},
    envelope::EnvelopeKey,
    names::{FilePath, Listing},
    rule::Rule,
    verify,
};

use super::{admit::AdmittedTrain, implicit_rejection::ProvisionalKey, station::Station, unwrap::ReadTrain};
use crate::{
    ledger::FileDigest,
    protocol::{
        content::{
            sealed_contents::{Contents, StoredFile},
            train_document::TrainDocument,
        },
        context::{call_context::CallContext, error::StepError, rule_log::RuleLog, rules::Policy},
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
pub struct OpenableTrain {
    pub(in crate::protocol) contents: Contents,
    pub(in crate::protocol) listing: Listing,
    /// Whether unlisted files are included.
    unlisted_too: bool,
    pub(in crate::protocol) key: EnvelopeKey,
    pub(in crate::protocol) query: Option<zeroize::Zeroizing<Vec<u8>>>,
    /// Digests of the listed files and the query.
    pub(in crate::protocol) files: Vec<FileDigest>,
    pub(in crate::protocol) immutable_digest: Digest,
    /// Digest of the results; `None` before the first stop.
    pub(in crate::protocol) results_digest: Option<Digest>,
}

impl OpenableTrain {
    /// Returns the immutable files that were hashed, and the query, in the engine's order; all files where the rule is relaxed.
    pub(in crate::protocol) fn opened_files(&self) -> impl Iterator<Item = &StoredFile> {
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

/// A train with its content, of which nothing is verified.
pub(in crate::protocol) struct Unverified<'a> {
    pub document: &'a TrainDocument,
    /// Number of stops that have signed.
    pub signed: usize,
    pub contents: Contents,
    pub key: ProvisionalKey,
    /// Digest of the results; required if a stop has signed.
    pub results_digest: Option<Digest>,
    pub rules: &'a RuleLog,
}

/// Note of a train whose builder's signature is valid.
const BUILDER: &str =
    "made with the key that the train itself names: whoever held it saw the creator's signature over these files";
/// Note of the rules about earlier stops at the first one.
const NO_STOP_BEFORE: &str = "no stop before this one has signed anything";
/// The rules about earlier stops.
const OF_CHAIN: [Rule; 5] =
    [Rule::ChainSignatures, Rule::NewestLink, Rule::SignaturesApart, Rule::ResultsSignature, Rule::ResultsDigest];

/// An admitted train that is verified completely.
///
/// It is made by verification only:
///
/// ```compile_fail,E0451
/// use stationmaster::protocol::{AdmittedTrain, VerifiedTrain};
///
/// fn of_another_train(verified: VerifiedTrain, admitted: AdmittedTrain) -> VerifiedTrain {
///     VerifiedTrain { admitted, ..verified }
/// }
/// ```
pub struct VerifiedTrain {
    admitted: AdmittedTrain,
    train: Verified<OpenableTrain>,
}

impl VerifiedTrain {
    /// Returns what admission has found out about the train.
    pub(in crate::protocol) fn admitted(&self) -> &AdmittedTrain {
        &self.admitted
    }

    /// Binds the train's session to its present statements; refuses a session with a different binding.
    pub(in crate::protocol) fn bind_session(&self, station: &Station) -> Result<(), StepError> {
        let TrainDocument { config, session_id, .. } = self.admitted.document();
        station.bind_session(config, session_id, self.admitted.stop().own.index())
    }
}

impl std::ops::Deref for VerifiedTrain {
    type Target = OpenableTrain;

    fn deref(&self) -> &OpenableTrain {
        &self.train
    }
}

impl ReadTrain {
    /// Verifies everything that a station can verify of the train, and applies the rule about unlisted files.
    ///
    /// # Errors
    /// One refusal, after all checks, if any digest or signature is wrong; or the rule that is broken.
    pub fn verify(self, policy: &Policy, step: &CallContext<'_>) -> Result<VerifiedTrain, StepError> {
        let Self { admitted, contents, key, results_digest } = self;
        let (document, signed, rules) = (admitted.document(), admitted.stop().signed, admitted.rules());
        let train = verify_state(policy, Unverified { document, signed, contents, key, results_digest, rules }, step)?;
        match train.unlisted_files().first() {
            Some(path) if policy.refuse_unlisted => Err(StepError::rule(Rule::UnlistedFiles, path.as_str())),
            _ => Ok(VerifiedTrain { admitted, train }),
        }
    }
}

/// Verifies everything that a station can verify of a sealed train which `signed` stops have signed: code, creator, builder,
/// chain and results. Every check runs even if an earlier one failed; the refusal comes at the end.
pub(in crate::protocol) fn verify_state(
    policy: &Policy,
    train: Unverified<'_>,
    step: &CallContext<'_>,
) -> Result<Verified<OpenableTrain>, StepError> {
    let Unverified { document, signed, contents, key, results_digest, rules } = train;
    let TrainDocument { config, session_id, .. } = document;
    let listing = listing_of(config, &contents, rules)?;
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
    // A file of another length cannot be opened.
    rules.checked(Rule::SealedLengths);
    let believed = |proof: Result<(), verify::Distrust>, of: &[Rule]| {
        of.iter().for_each(|rule| rules.checked(*rule));
        key.defer(proof.map_err(StepError::untrusted))
    };
    let of_code = [Rule::CreatorSignature, Rule::BuilderSignature, Rule::ImmutableDigest];
    believed(verify::verify_creator_and_build(config, &immutable_digest), &of_code)?;
    rules.explain(Rule::BuilderSignature, BUILDER);
    if signed == 0 {
        OF_CHAIN.into_iter().for_each(|rule| rules.not_checkable(rule, NO_STOP_BEFORE));
    } else {
        let digest = results_digest.as_ref().ok_or(StepError::Invariant("results were not hashed"))?;
        believed(verify::verify_chain(config, signed), &[Rule::ChainSignatures, Rule::NewestLink])?;
        if policy.rules.holds(Rule::SignaturesApart) {
            believed(verify::verify_signatures_apart(config, signed), &[Rule::SignaturesApart])?;
        } else {
            rules.relaxed(Rule::SignaturesApart);
        }
        believed(verify::verify_results(config, signed, digest), &[Rule::ResultsSignature, Rule::ResultsDigest])?;
    }
    let key = key.verdict()?;
    Ok(Verified(OpenableTrain { contents, listing, unlisted_too, key, query, files, immutable_digest, results_digest }))
}

/// Returns the names to hash. Fails if one of them has no file.
pub(in crate::protocol) fn listing_of(config: &TrainConfig, contents: &Contents, rules: &RuleLog) -> Result<Listing, StepError> {
    let listing = Listing::new(&config.file_list)
        .map_err(|error| StepError::rule(Rule::PlainNames, format!("file_list entry {}: {}", error.position, error.cause)))?;
    if let Some(absent) = listing.names().iter().find(|path| contents.train.file(path).is_none()) {
        return Err(missing(absent));
    }
    rules.checked(Rule::PlainNames);
    rules.checked(Rule::ListedFilesPresent);
    Ok(listing)
}

fn missing(path: &FilePath) -> StepError {
    StepError::rule(Rule::ListedFilesPresent, path.as_str())
}

fn file_digest(path: &FilePath, digest: FileHasher) -> FileDigest {
    FileDigest { path: path.as_str().to_owned(), sha256: digest.finish() }
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
