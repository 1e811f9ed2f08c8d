//! Reading an arriving train: its config first, then the whole `/opt` once, results opened and hashed while they stream.

use super::{
    Step, StepError,
    contents::{Contents, StoredFile},
    hashing::{Piece, ThreadedHasher},
    unwrapped::UnwrappedKey,
};
use crate::{
    image::{
        ImageError,
        directory::DirectoryWriter,
        layer::Meta,
        opt::{Area, CONFIG_PATH, OptSink, read_config, read_opt},
        spool::{Extent, Spool},
        store::ImageFiles,
    },
    train::{
        config::{ConfigError, TrainConfig},
        digest::Digest,
        envelope::{EnvelopeKey, Opener},
        names::FilePath,
    },
};

/// A train's config with the bytes it was read from.
pub(super) struct ArrivedConfig {
    pub bytes: Vec<u8>,
    pub config: TrainConfig,
    /// The train session, raw.
    pub session_id: Vec<u8>,
}

/// Reads and parses a train's config.
pub(super) fn read_train_config(files: &ImageFiles, step: &Step<'_>) -> Result<ArrivedConfig, StepError> {
    let bytes = match read_config(files.read(CONFIG_PATH, &step.cancel)?) {
        Err(ImageError::PathMissing) => {
            step.caller.may_have_any_train()?;
            return Err(StepError::NotATrain);
        }
        other => other?,
    };
    let config = TrainConfig::parse(&bytes)?;
    let session_id =
        config.session_id.decode().map_err(|_| ConfigError::WrongType { field: "session_id".into(), expected: "hex" })?;
    step.on_train(&config.id, &session_id, None)?;
    Ok(ArrivedConfig { bytes, config, session_id })
}

/// Copies the sealed content into a spool. With a key, opens the results on the way and answers their digest; with a landing
/// too, the opened results go there and not into the spool.
pub(super) fn read_sealed(
    files: &ImageFiles,
    spool: Spool,
    results: Option<(&UnwrappedKey, &[u8])>,
    landing: Option<&mut DirectoryWriter>,
    expected: u64,
    step: &Step<'_>,
) -> Result<(Contents, Option<Digest>), StepError> {
    let mut arrival = Arrival {
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
    let Arrival { mut contents, results: reader, .. } = arrival;
    contents.spool.flush()?;
    contents.complete()?;
    let digest = match (reader, results) {
        (Some(reader), Some((key, session_id))) => {
            if reader.broken {
                key.doubt("a result file cannot be opened");
            }
            Some(reader.hasher.finish(session_id)?)
        }
        _ => None,
    };
    Ok((contents, digest))
}

struct Arrival<'a> {
    contents: Contents,
    file: Option<(Area, FilePath, Meta, u64)>,
    /// Where results are opened into, verified or not: the caller wipes it when they do not prove right.
    landing: Option<&'a mut DirectoryWriter>,
    results: Option<ResultsReader<'a>>,
    step: &'a Step<'a>,
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

impl OptSink for Arrival<'_> {
    type Error = StepError;

    fn directory(&mut self, area: Area, path: Option<FilePath>, meta: Meta) -> Result<(), StepError> {
        if let (Area::Results, Some(landing)) = (area, &mut self.landing) {
            landing.directory(area, path.as_ref(), meta)?;
        }
        self.contents.directory(area, path, meta)
    }

    fn begin(&mut self, area: Area, path: FilePath, meta: Meta, size: u64) -> Result<(), StepError> {
        self.step.check()?;
        let opened = area == Area::Results && self.results.is_some();
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
        self.step.check()?;
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
