//! Collects names, lengths and the two small files of a train, without a key.

use std::io::Read;

use stationmaster_train::{envelope::Shape, names::FilePath, proof::Found, rule::Rule};

use super::{
    reader::TrainTreeSink,
    sealed_files::{SealedFile, SealedFiles},
    train_dirs::{CONFIG_LIMIT, TrainDir},
};
use crate::{ImageError, archive::memory_budget::Share, tar::entry::FileAttrs};

/// Path of the config, below `/opt`.
pub(super) const CONFIG: &str = "train_config.json";
/// Path of the wrapped key, below `/opt`.
pub(super) const USER_KEY: &str = "user_sym_key.key";
/// Maximum length of a wrapped key that is read, in bytes: that of a 16384-bit RSA key.
const USER_KEY_LIMIT: u64 = 2048;

/// Contents of a train.
#[derive(Debug, Default)]
pub struct TrainFiles {
    /// `train_config.json`, if it is a file.
    pub config: Option<Vec<u8>>,
    /// All other entries.
    pub found: Found,
    /// Memory of the names, counted in the budget.
    pub share: Share,
}

/// Collects the entries.
pub(crate) struct Collector<'a> {
    pub(crate) files: TrainFiles,
    pub(crate) file: Option<(TrainDir, FilePath, u64)>,
    pub(crate) shape: Shape,
    pub(crate) sealed: Option<SealedFiles>,
    pub(crate) check: &'a dyn Fn() -> Result<(), ImageError>,
}

impl<'a> Collector<'a> {
    pub(crate) fn new(check: &'a dyn Fn() -> Result<(), ImageError>) -> Self {
        Self { files: TrainFiles::default(), file: None, shape: Shape::default(), sealed: None, check }
    }

    pub(crate) fn keep(&mut self, path: &FilePath) -> Result<(), ImageError> {
        // If sealed files are kept, each is also kept under its name.
        let names = if self.sealed.is_some() { 2 } else { 1 };
        self.files.share.entry::<(FilePath, SealedFile)>(names * path.as_str().len())
    }

    /// Adds one of the two small files, by its path below `/opt`.
    pub(crate) fn small_file(&mut self, path: &str, content: Vec<u8>) {
        let place = if path == CONFIG { &mut self.files.config } else { &mut self.files.found.user_key };
        if place.is_some() {
            self.files.found.breach(Rule::UniqueNames, path.as_bytes());
        } else {
            *place = Some(content);
        }
    }
}

/// Returns the maximum number of bytes to read of one of the two small files.
pub(crate) fn small_limit(path: &str) -> Option<u64> {
    match path {
        CONFIG => Some(CONFIG_LIMIT),
        USER_KEY => Some(USER_KEY_LIMIT),
        _ => None,
    }
}

/// Reads one of the two small files. A wrapped key that is too long is invalid: the part that is read equals no key.
pub(crate) fn read_small(path: &str, size: u64, limit: u64, content: &mut dyn Read) -> Result<Vec<u8>, ImageError> {
    if size > limit && path == CONFIG {
        return Err(ImageError::Limit("bytes of train_config.json"));
    }
    let mut read = Vec::new();
    content.take(limit).read_to_end(&mut read).map_err(ImageError::from_io)?;
    Ok(read)
}

impl TrainTreeSink for Collector<'_> {
    type Error = ImageError;

    fn directory(&mut self, area: TrainDir, path: Option<FilePath>, _: FileAttrs) -> Result<(), ImageError> {
        if let Some(path) = &path {
            self.keep(path)?;
        }
        let found = &mut self.files.found;
        let directory = if area == TrainDir::Train { &mut found.code } else { &mut found.results };
        match path {
            None => directory.is_there = true,
            Some(path) => directory.directory(path),
        }
        Ok(())
    }

    fn begin(&mut self, area: TrainDir, path: FilePath, _: FileAttrs, size: u64) -> Result<(), ImageError> {
        self.keep(&path)?;
        if let Some(sealed) = &mut self.sealed {
            sealed.begin(size)?;
        }
        self.file = Some((area, path, size));
        (self.check)()
    }

    fn chunk(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.shape.update(bytes);
        if let Some(sealed) = &mut self.sealed {
            sealed.spool.append(bytes)?;
        }
        (self.check)()
    }

    fn end(&mut self) -> Result<(), ImageError> {
        if let Some((area, path, size)) = self.file.take() {
            if let Some(sealed) = &mut self.sealed {
                sealed.keep(area, path.clone(), sealed.extent());
            }
            self.files.found.file(area == TrainDir::Train, path, size, self.shape.verdict());
        }
        Ok(())
    }

    fn other(&mut self, path: &str) -> Result<(), ImageError> {
        let path = path.trim_end_matches('/');
        if small_limit(path).is_some() {
            self.files.found.breach(Rule::NoLinks, path.as_bytes());
        } else {
            self.files.found.others.add(path.as_bytes());
        }
        Ok(())
    }

    fn other_file(&mut self, path: &str, size: u64, content: &mut dyn Read) -> Result<(), ImageError> {
        let Some(limit) = small_limit(path) else { return self.other(path) };
        let content = read_small(path, size, limit, content)?;
        self.small_file(path, content);
        Ok(())
    }

    fn breach(&mut self, rule: Rule, name: &[u8]) -> Result<(), ImageError> {
        if rule == Rule::UniqueNames {
            // Duplicates are detected when all names are known.
            self.files.found.out_of_order = true;
        } else {
            self.files.found.breach(rule, name);
        }
        Ok(())
    }
}
