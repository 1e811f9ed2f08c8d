//! Verification by the creator: verifies a returned train without a key as far as possible, then with the creator's key, and
//! only then opens its results. Uses no station and none of its keys.

use stationmaster_image::{
    ImageError,
    disk::spool::Spool,
    opt::{
        sealed_files::{SealedFile, SealedFiles},
        train_archive::read_sealed_train,
    },
    tar::entry::FileAttrs,
};
use stationmaster_train::{
    config::HexText,
    digest::Digest,
    envelope::EnvelopeKey,
    keys::{KeyError, PublicKey},
    names::FilePath,
    verify,
};

use super::{
    admission::{
        implicit_rejection::ProvisionalKey,
        verify::{Unverified, verify_state},
    },
    content::{
        hash_thread::ThreadedHasher,
        sealed_contents::{Contents, StoredFile},
        train_document::TrainDocument,
    },
    context::{call_context::CallContext, error::StepError, rule_log::RuleLog, rules::Policy},
    steps::verify_train::{Judge, Verification, verify_files},
};

/// A train in an archive and what it proves without a key. Its content is ciphertext in a spool.
pub struct ReturnedTrain {
    /// What the train proves without a key. Nothing is opened if a rule is broken.
    pub verification: Verification,
    document: TrainDocument,
    sealed: SealedFiles,
}

impl ReturnedTrain {
    /// Reads and verifies an archive, as [`super::verify_archive`]; if it has several images, the one named.
    ///
    /// # Errors
    /// When the archive cannot be read at all.
    pub fn read(
        archive: (impl std::io::Read, Option<&str>),
        spool: Spool,
        trust: Option<Judge<'_>>,
        check: &dyn Fn() -> Result<(), ImageError>,
    ) -> Result<Self, StepError> {
        let (files, sealed) = match read_sealed_train(archive, spool, check) {
            Err(ImageError::PathMissing) => return Err(StepError::NotATrain),
            other => other?,
        };
        let (verification, document) = verify_files(files, trust)?;
        Ok(Self { verification, document, sealed })
    }

    /// Returns the creator's key as the train states it.
    ///
    /// # Errors
    /// When it is not a valid key.
    pub fn creator_key(&self) -> Result<PublicKey, KeyError> {
        PublicKey::from_hex_pem(&self.document.config.creator.rsa_public_key)
    }

    /// Returns the envelope key, wrapped for the creator; `None` before the first stop has signed.
    #[must_use]
    pub fn wrapped_key(&self) -> Option<&HexText> {
        self.document.config.creator.encrypted_key.as_ref()
    }

    /// Verifies what requires the envelope key: the results' digest, and that of the code if the archive includes it.
    ///
    /// # Errors
    /// [`StepError::Untrusted`] when any check fails; a train with a broken rule is not checked.
    pub fn open(self, key: Result<EnvelopeKey, String>) -> Result<Results, StepError> {
        let Self { verification, document, sealed } = self;
        let proof = &verification.proof;
        if !proof.report.holds() || proof.stops_signed == 0 {
            return Err(StepError::untrusted("a rule is broken, or no stop has signed"));
        }
        let substitute = EnvelopeKey::random().map_err(|_| StepError::Invariant("no random key"))?;
        let key = ProvisionalKey::new(key, substitute);
        let contents = contents(sealed)?;
        let digest = results_digest(&contents, &key, &document.session_id)?;
        let (signed, has_code) = (proof.stops_signed, !contents.train.files.is_empty());
        let (contents, key) = if has_code {
            let step = CallContext::background("train open");
            {
                let train = Unverified {
                    document: &document,
                    signed,
                    contents,
                    key,
                    results_digest: Some(digest),
                    rules: &RuleLog::default(),
                };
                verify_state(&Policy::default(), train, &step)?.into_parts()
            }
        } else {
            key.defer(verify::verify_chain(&document.config, signed).map_err(StepError::untrusted))?;
            key.defer(verify::verify_results(&document.config, signed, &digest).map_err(StepError::untrusted))?;
            (contents, key.verdict()?)
        };
        Ok(Results { digest, code_verified: has_code, contents, key })
    }
}

/// Verified results.
pub struct Results {
    /// Their digest, as the last stop signed it.
    pub digest: Digest,
    /// Whether the archive includes the code and the code is what the creator signed.
    pub code_verified: bool,
    contents: Contents,
    key: EnvelopeKey,
}

impl Results {
    /// Returns the files, in the order in which they were hashed, and the sizes of their plaintext in bytes.
    pub fn files(&self) -> impl Iterator<Item = Result<(&FilePath, u64), StepError>> {
        self.contents.results.files.iter().map(|file| Ok((&file.path, self.contents.opened_len(&self.key, file.extent)?)))
    }

    /// Passes a file's plaintext on in pieces.
    ///
    /// # Errors
    /// Those of `each`, and of the spool.
    pub fn open(&self, path: &FilePath, each: impl FnMut(&[u8]) -> Result<(), StepError>) -> Result<(), StepError> {
        let file = self.contents.results.file(path).ok_or(StepError::Invariant("a result that is not there"))?;
        self.contents.open_file(&self.key, file.extent, each)
    }
}

fn contents(sealed: SealedFiles) -> Result<Contents, StepError> {
    let mut contents = Contents::new(sealed.spool);
    for SealedFile { area, path, extent } in sealed.files {
        // The attributes from its container are no longer needed.
        contents.file(area, StoredFile { path, meta: FileAttrs::immutable_file(0), extent })?;
    }
    Ok(contents)
}

fn results_digest(contents: &Contents, key: &ProvisionalKey, session_id: &[u8]) -> Result<Digest, StepError> {
    let mut hasher = ThreadedHasher::new();
    for file in &contents.results.files {
        let opened = contents.open_file(key.key(), file.extent, |plain| hasher.update(plain));
        key.defer(opened)?;
    }
    hasher.finish(session_id)
}
