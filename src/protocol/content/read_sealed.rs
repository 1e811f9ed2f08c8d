//! Reads an arriving train: its config first, then all of `/opt` in one pass; results are opened and hashed while they stream.

use stationmaster_image::{
    ImageError,
    disk::spool::{Extent, Spool},
    opt::{
        reader::{TrainTreeSink, read_config, read_opt},
        train_dirs::{CONFIG_PATH, TrainDir},
        working_dir::DirectoryWriter,
    },
    store::ImageFiles,
    tar::entry::FileAttrs,
};
use stationmaster_train::{
    config::{TrainConfig, TrainConfigError},
    digest::Digest,
    envelope::{EnvelopeKey, Opener},
    names::FilePath,
};

use super::{
    hash_thread::{Piece, ThreadedHasher},
    sealed_contents::{Contents, StoredFile},
};
use crate::protocol::{CallContext, StepError, admission::implicit_rejection::ProvisionalKey};

/// A train's config and the bytes that it was parsed from.
pub(in crate::protocol) struct TrainDocument {
    pub bytes: Vec<u8>,
    pub config: TrainConfig,
    /// The train session, raw bytes.
    pub session_id: Vec<u8>,
}

/// Reads and parses a train's config.
pub(in crate::protocol) fn read_train_config(files: &dyn ImageFiles, step: &CallContext<'_>) -> Result<TrainDocument, StepError> {
    let bytes = match read_config(files.read(CONFIG_PATH, &step.cancel)?) {
        Err(ImageError::PathMissing) => {
            step.caller.may_have_any_train()?;
            return Err(StepError::NotATrain);
        }
        other => other?,
    };
    let config = TrainConfig::parse(&bytes)?;
    let session_id =
        config.session_id.decode().map_err(|_| TrainConfigError::WrongType { field: "session_id".into(), expected: "hex" })?;
    step.authorize_train(&config.id, &session_id, None)?;
    Ok(TrainDocument { bytes, config, session_id })
}

/// Copies the sealed content into a spool. With a key, opens the results on the way and returns their digest; with a `landing`
/// too, writes the opened results there and not into the spool.
pub(in crate::protocol) fn read_sealed(
    files: &dyn ImageFiles,
    spool: Spool,
    results: Option<(&ProvisionalKey, &[u8])>,
    landing: Option<&mut DirectoryWriter>,
    expected: u64,
    step: &CallContext<'_>,
) -> Result<(Contents, Option<Digest>), StepError> {
    let mut arrival = SealedReader {
        contents: Contents::new(spool),
        file: None,
        landing,
        results: results.map(|(key, _)| ResultsReader {
            key: key.key(),
            opener: None,
            hasher: ThreadedHasher::new(),
            plain: Piece::default(),
            broken: false,
        }),
        step,
        expected,
        read: 0,
    };
    read_opt(files.read("/opt", &step.cancel)?, &mut arrival)?;
    let SealedReader { mut contents, results: reader, .. } = arrival;
    contents.spool.flush()?;
    contents.complete()?;
    let digest = match (reader, results) {
        (Some(reader), Some((key, session_id))) => {
            if reader.broken {
                key.record_failure("a result file cannot be opened");
            }
            Some(reader.hasher.finish(session_id)?)
        }
        _ => None,
    };
    Ok((contents, digest))
}

struct SealedReader<'a> {
    contents: Contents,
    file: Option<(TrainDir, FilePath, FileAttrs, u64)>,
    /// Destination of opened results, verified or not: the caller wipes it if verification fails.
    landing: Option<&'a mut DirectoryWriter>,
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
    fn chunk(&mut self, sealed: &[u8], landing: Option<&mut DirectoryWriter>) -> Result<(), StepError> {
        let Some(opener) = &mut self.opener else { return Ok(()) };
        self.broken |= opener.update(sealed, &mut self.plain).is_err();
        self.pass_on(landing)
    }

    fn end(&mut self, landing: Option<&mut DirectoryWriter>) -> Result<(), StepError> {
        let Some(opener) = self.opener.take() else { return Ok(()) };
        self.broken |= opener.finish(&mut self.plain).is_err();
        self.pass_on(landing)
    }

    fn pass_on(&mut self, landing: Option<&mut DirectoryWriter>) -> Result<(), StepError> {
        if let Some(landing) = landing {
            landing.chunk(&self.plain)?;
        }
        self.hasher.take(&mut self.plain)
    }
}

impl TrainTreeSink for SealedReader<'_> {
    type Error = StepError;

    fn directory(&mut self, area: TrainDir, path: Option<FilePath>, meta: FileAttrs) -> Result<(), StepError> {
        if let (TrainDir::Results, Some(landing)) = (area, &mut self.landing) {
            landing.directory(area, path.as_ref(), meta)?;
        }
        self.contents.directory(area, path, meta)
    }

    fn begin(&mut self, area: TrainDir, path: FilePath, meta: FileAttrs, size: u64) -> Result<(), StepError> {
        self.step.check_cancelled()?;
        let opened = area == TrainDir::Results && self.results.is_some();
        match &mut self.landing {
            Some(landing) if opened => landing.begin(area, &path, meta, size)?,
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
                reader.chunk(bytes, self.landing.as_deref_mut())?;
                if self.landing.is_none() {
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
            reader.end(self.landing.as_deref_mut())?;
            if let Some(landing) = &mut self.landing {
                landing.end()?;
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
