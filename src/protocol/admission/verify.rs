//! Verification of trains: the only module that makes a verified train.

use stationmaster_train::{
    config::TrainConfig,
    digest::{Digest, ImmutableHasher},
    envelope::EnvelopeKey,
    names::Listing,
    rule::Rule,
    verify,
};

use super::{
    admit::AdmittedTrain,
    immutable_files::{self, SealedFiles, listing_of, unlisted},
    implicit_rejection::ProvisionalKey,
    station::Station,
    unwrap::ReadTrain,
};
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
    let unlisted_too = !policy.rules.holds(Rule::UnlistedFiles);
    let sealed = SealedFiles { contents: &contents, key: &key, step };
    let mut hasher = ImmutableHasher::new(&config.creator.id);
    let mut files = sealed.hash_listed(&listing, &mut hasher)?;
    if unlisted_too {
        files.extend(sealed.hash_unlisted(&listing)?);
    }
    let query = sealed.read_query()?;
    files.extend(query.as_ref().map(|query| immutable_files::of_query(query)));
    let immutable_digest = hasher.finish(session_id, query.as_ref().map(|query| query.as_slice()));
    // A file of another length cannot be opened.
    rules.checked(Rule::SealedLengths);
    let proofs = Proofs { config, key: &key, rules };
    proofs.check_code(&immutable_digest)?;
    proofs.check_earlier_stops(policy, signed, results_digest.as_ref())?;
    let key = key.verdict()?;
    Ok(Verified(OpenableTrain { contents, listing, unlisted_too, key, query, files, immutable_digest, results_digest }))
}

/// Checks of a train's digests and signatures. A wrong one is a failure of the key, which ends nothing.
struct Proofs<'a> {
    config: &'a TrainConfig,
    key: &'a ProvisionalKey,
    rules: &'a RuleLog,
}

impl Proofs<'_> {
    /// Checks the signatures of creator and builder over the immutable files.
    fn check_code(&self, immutable_digest: &Digest) -> Result<(), StepError> {
        let of_code = [Rule::CreatorSignature, Rule::BuilderSignature, Rule::ImmutableDigest];
        self.note(verify::verify_creator_and_build(self.config, immutable_digest), &of_code)?;
        self.rules.explain(Rule::BuilderSignature, BUILDER);
        Ok(())
    }

    /// Checks what the `signed` earlier stops have signed: the chain, and the results, which the last of them sealed.
    fn check_earlier_stops(&self, policy: &Policy, signed: usize, results: Option<&Digest>) -> Result<(), StepError> {
        let Self { config, rules, .. } = self;
        if signed == 0 {
            OF_CHAIN.into_iter().for_each(|rule| rules.not_checkable(rule, NO_STOP_BEFORE));
            return Ok(());
        }
        let results = results.ok_or(StepError::Invariant("results were not hashed"))?;
        self.note(verify::verify_chain(config, signed), &[Rule::ChainSignatures, Rule::NewestLink])?;
        if policy.rules.holds(Rule::SignaturesApart) {
            self.note(verify::verify_signatures_apart(config, signed), &[Rule::SignaturesApart])?;
        } else {
            rules.relaxed(Rule::SignaturesApart);
        }
        self.note(verify::verify_results(config, signed, results), &[Rule::ResultsSignature, Rule::ResultsDigest])
    }

    /// Notes the rules of a check, and defers its failure.
    fn note(&self, proof: Result<(), verify::Distrust>, of: &[Rule]) -> Result<(), StepError> {
        of.iter().for_each(|rule| self.rules.checked(*rule));
        self.key.defer(proof.map_err(StepError::untrusted))
    }
}
