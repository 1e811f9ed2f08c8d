//! Seals the content after a run: hashes and seals in one pass, so that this service writes no plaintext to disk.

use std::collections::HashMap;

use stationmaster_image::{
    disk::spool::{Extent, Spool},
    opt::{reader::TrainTreeSink, train_dirs::TrainDir},
    tar::entry::FileAttrs,
};
use stationmaster_train::{
    digest::{Digest, FileHasher, Sha256Digest},
    envelope::{EnvelopeKey, Sealer},
    names::FilePath,
    rule::Rule,
};

use super::{
    hash_thread::ThreadedHasher,
    sealed_contents::{Contents, OF_READING, StoredFile},
};
use crate::{
    ledger::FileDigest,
    protocol::context::{call_context::CallContext, error::StepError, rule_log::RuleLog},
};

/// The cipher fails only if the library or its source of randomness fails.
const BROKEN_CIPHER: StepError = StepError::Invariant("the cipher failed");

/// The sealed content after a run.
pub(in crate::protocol) struct SealedRun {
    /// The immutable files of pre-run, the query and all results; sealed.
    pub contents: Contents,
    /// Digest of the results' plaintext.
    pub results_digest: Digest,
    /// Paths below `/opt` that were left out.
    pub dropped: Vec<String>,
}

/// Reads, hashes and seals the content after a run; `read` passes all of it to the sink, once.
///
/// With `immutable`, the immutable files must equal those of pre-run byte for byte, and others are left out; without it, all
/// files are included.
pub(in crate::protocol) fn seal_run(
    read: impl FnOnce(&mut dyn TrainTreeSink<Error = StepError>) -> Result<(), StepError>,
    spool: Spool,
    key: &EnvelopeKey,
    session_id: &[u8],
    immutable: Option<&[FileDigest]>,
    rules: &RuleLog,
    step: &CallContext<'_>,
) -> Result<SealedRun, StepError> {
    let mut sealing = Sealing {
        contents: Contents::new(spool),
        key,
        results: ThreadedHasher::new(),
        expected: immutable.map(|files| files.iter().map(|file| (file.path.as_str(), file.sha256)).collect()),
        file: None,
        sealed: Vec::new(),
        dropped: Vec::new(),
        read: 0,
        step,
    };
    read(&mut sealing)?;
    OF_READING.into_iter().for_each(|rule| rules.checked(rule));
    let Sealing { mut contents, results, expected, mut dropped, .. } = sealing;
    contents.spool.flush()?;
    contents.complete(rules)?;
    if let Some(path) = expected.iter().flatten().next().map(|(path, _)| path) {
        return Err(changed(path));
    }
    rules.checked(Rule::ImmutableUnchanged);
    // Whatever pre-run allowed in `/opt`, none of it is sealed.
    dropped.append(&mut contents.others);
    rules.checked_as(Rule::OptAllowList, "what is not the train's was left out");
    Ok(SealedRun { contents, results_digest: results.finish(session_id)?, dropped })
}

fn changed(path: &str) -> StepError {
    StepError::rule(Rule::ImmutableUnchanged, path)
}

struct Sealing<'a> {
    contents: Contents,
    key: &'a EnvelopeKey,
    results: ThreadedHasher,
    /// Immutable files of pre-run that have not been read yet, with their digests.
    expected: Option<HashMap<&'a str, Sha256Digest>>,
    file: Option<OpenFile>,
    sealed: Vec<u8>,
    dropped: Vec<String>,
    read: u64,
    step: &'a CallContext<'a>,
}

struct OpenFile {
    area: TrainDir,
    path: FilePath,
    meta: FileAttrs,
    offset: u64,
    sealer: Sealer,
    /// Only for immutable files.
    digest: Option<FileHasher>,
}

impl TrainTreeSink for Sealing<'_> {
    type Error = StepError;

    fn directory(&mut self, area: TrainDir, path: Option<FilePath>, meta: FileAttrs) -> Result<(), StepError> {
        self.contents.directory(area, path, meta)
    }

    fn begin(&mut self, area: TrainDir, path: FilePath, meta: FileAttrs, size: u64) -> Result<(), StepError> {
        self.step.check_cancelled()?;
        if area == TrainDir::Train && self.expected.as_ref().is_some_and(|expected| !expected.contains_key(path.as_str())) {
            self.contents.count(path.as_str().len())?;
            self.dropped.push(format!("pht_train/{}", path.as_str()));
            return Ok(());
        }
        self.contents.spool.check_space(size)?;
        let sealer = Sealer::new(self.key).map_err(|_| BROKEN_CIPHER)?;
        let digest = (area == TrainDir::Train).then(FileHasher::new);
        self.file = Some(OpenFile { area, path, meta, offset: self.contents.spool.len(), sealer, digest });
        Ok(())
    }

    fn chunk(&mut self, bytes: &[u8]) -> Result<(), StepError> {
        self.step.check_cancelled()?;
        self.read += bytes.len() as u64;
        (self.step.progress)("read", self.read, 0);
        let Some(file) = &mut self.file else { return Ok(()) };
        match &mut file.digest {
            Some(digest) => digest.update(bytes),
            None => self.results.update(bytes)?,
        }
        self.sealed.clear();
        file.sealer.update(bytes, &mut self.sealed).map_err(|_| BROKEN_CIPHER)?;
        Ok(self.contents.spool.append(&self.sealed)?)
    }

    fn end(&mut self) -> Result<(), StepError> {
        let Some(file) = self.file.take() else { return Ok(()) };
        self.sealed.clear();
        file.sealer.finish(&mut self.sealed).map_err(|_| BROKEN_CIPHER)?;
        self.contents.spool.append(&self.sealed)?;
        if let (Some(digest), Some(expected)) = (file.digest, &mut self.expected) {
            let before = expected.remove(file.path.as_str());
            if before != Some(digest.finish()) {
                return Err(changed(file.path.as_str()));
            }
        }
        let extent = Extent { offset: file.offset, len: self.contents.spool.len() - file.offset };
        self.contents.file(file.area, StoredFile { path: file.path, meta: file.meta, extent })
    }

    fn other(&mut self, path: &str) -> Result<(), StepError> {
        self.contents.other(path)
    }
}
