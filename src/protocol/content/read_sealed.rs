//! Reads the content of a train: all of `/opt` in one pass; results are opened and hashed while they stream.

use stationmaster_image::{
    disk::spool::{Extent, Spool},
    opt::{
        reader::{TrainTreeSink, read_opt},
        train_dirs::TrainDir,
        working_dir::DirectoryWriter,
    },
    store::ImageFiles,
    tar::entry::FileAttrs,
};
use stationmaster_train::{
    digest::Digest,
    envelope::{EnvelopeKey, Opener},
    names::FilePath,
};

use super::{
    hash_thread::{Piece, ThreadedHasher},
    sealed_contents::{Contents, OF_READING, StoredFile},
};
use crate::protocol::context::{call_context::CallContext, error::StepError, rule_log::RuleLog};

/// Destination of a train's content.
pub struct Destination<'a> {
    /// The spool for everything that stays sealed.
    pub spool: Spool,
    /// The working directory for opened results, verified or not: the caller wipes it if verification fails.
    pub working_dir: Option<&'a mut DirectoryWriter>,
    /// Expected size in bytes, for the progress; 0 if unknown.
    pub expected: u64,
}

/// The key to open the results with, and the session that their digest includes.
pub(in crate::protocol) struct ResultsKey<'a> {
    pub key: &'a EnvelopeKey,
    pub session_id: &'a [u8],
}

/// The content of a train as it was read.
pub(in crate::protocol) struct SealedTrain {
    pub contents: Contents,
    pub results: Option<HashedResults>,
}

/// Results that were opened while they were read.
pub(in crate::protocol) struct HashedResults {
    pub digest: Digest,
    /// Whether the padding of every file was valid.
    pub could_be_opened: bool,
}

/// Copies the sealed content into the spool. With a key, opens the results on the way and hashes them; with a working directory
/// too, writes the opened results there and not into the spool.
pub(in crate::protocol) fn read_sealed(
    files: &dyn ImageFiles,
    destination: Destination<'_>,
    results: Option<ResultsKey<'_>>,
    rules: &RuleLog,
    step: &CallContext<'_>,
) -> Result<SealedTrain, StepError> {
    let Destination { spool, working_dir, expected } = destination;
    let session_id = results.as_ref().map(|results| results.session_id).unwrap_or_default();
    let mut reader = SealedReader {
        contents: Contents::new(spool),
        file: None,
        working_dir,
        results: results.map(|results| ResultsReader {
            key: results.key,
            opener: None,
            hasher: ThreadedHasher::new(),
            plain: Piece::default(),
            broken: false,
        }),
        step,
        expected,
        read: 0,
    };
    read_opt(files.read("/opt", &step.cancel)?, &mut reader)?;
    OF_READING.into_iter().for_each(|rule| rules.checked(rule));
    let SealedReader { mut contents, results, .. } = reader;
    contents.spool.flush()?;
    contents.complete(rules)?;
    let hashed = |ResultsReader { hasher, broken, .. }: ResultsReader<'_>| {
        Ok::<_, StepError>(HashedResults { digest: hasher.finish(session_id)?, could_be_opened: !broken })
    };
    Ok(SealedTrain { contents, results: results.map(hashed).transpose()? })
}

struct SealedReader<'a> {
    contents: Contents,
    file: Option<(TrainDir, FilePath, FileAttrs, u64)>,
    /// Destination of opened results, verified or not: the caller wipes it if verification fails.
    working_dir: Option<&'a mut DirectoryWriter>,
    results: Option<ResultsReader<'a>>,
    step: &'a CallContext<'a>,
    expected: u64,
    read: u64,
}

struct ResultsReader<'a> {
    key: &'a EnvelopeKey,
    opener: Option<Opener<'a>>,
    hasher: ThreadedHasher,
    plain: Piece,
    broken: bool,
}

impl ResultsReader<'_> {
    fn chunk(&mut self, sealed: &[u8], working_dir: Option<&mut DirectoryWriter>) -> Result<(), StepError> {
        let Some(opener) = &mut self.opener else { return Ok(()) };
        self.broken |= opener.update(sealed, &mut self.plain).is_err();
        self.pass_on(working_dir)
    }

    fn end(&mut self, working_dir: Option<&mut DirectoryWriter>) -> Result<(), StepError> {
        let Some(opener) = self.opener.take() else { return Ok(()) };
        self.broken |= opener.finish(&mut self.plain).is_err();
        self.pass_on(working_dir)
    }

    fn pass_on(&mut self, working_dir: Option<&mut DirectoryWriter>) -> Result<(), StepError> {
        if let Some(working_dir) = working_dir {
            working_dir.chunk(&self.plain)?;
        }
        self.hasher.take(&mut self.plain)
    }
}

impl TrainTreeSink for SealedReader<'_> {
    type Error = StepError;

    fn directory(&mut self, area: TrainDir, path: Option<FilePath>, meta: FileAttrs) -> Result<(), StepError> {
        if let (TrainDir::Results, Some(working_dir)) = (area, &mut self.working_dir) {
            working_dir.directory(area, path.as_ref(), meta)?;
        }
        self.contents.directory(area, path, meta)
    }

    fn begin(&mut self, area: TrainDir, path: FilePath, meta: FileAttrs, size: u64) -> Result<(), StepError> {
        self.step.check_cancelled()?;
        let opened = area == TrainDir::Results && self.results.is_some();
        match &mut self.working_dir {
            Some(working_dir) if opened => working_dir.begin(area, &path, meta, size)?,
            _ => self.contents.spool.check_space(size)?,
        }
        if let (true, Some(reader)) = (opened, &mut self.results) {
            reader.opener = Some(Opener::new(reader.key));
        }
        self.file = Some((area, path, meta, self.contents.spool.len()));
        Ok(())
    }

    fn chunk(&mut self, bytes: &[u8]) -> Result<(), StepError> {
        match self.results.as_mut().filter(|reader| reader.opener.is_some()) {
            Some(reader) => {
                reader.chunk(bytes, self.working_dir.as_deref_mut())?;
                if self.working_dir.is_none() {
                    self.contents.spool.append(bytes)?;
                }
            }
            None => self.contents.spool.append(bytes)?,
        }
        self.read += bytes.len() as u64;
        self.step.check_cancelled()?;
        (self.step.progress)("read", self.read, self.expected);
        Ok(())
    }

    fn end(&mut self) -> Result<(), StepError> {
        if let Some(reader) = self.results.as_mut().filter(|reader| reader.opener.is_some()) {
            reader.end(self.working_dir.as_deref_mut())?;
            if let Some(working_dir) = &mut self.working_dir {
                working_dir.end()?;
            }
        }
        let (area, path, meta, offset) = self.file.take().ok_or(StepError::Invariant("a file ends that did not begin"))?;
        let extent = Extent { offset, len: self.contents.spool.len() - offset };
        self.contents.file(area, StoredFile { path, meta, extent })
    }

    fn other(&mut self, path: &str) -> Result<(), StepError> {
        self.contents.other(path)
    }
}
