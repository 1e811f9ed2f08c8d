//! The sealed content of a train, kept while its archive is read once.

use super::reader::TrainDir;
use crate::{
    image::{
        ImageError,
        disk::spool::{Extent, Spool},
    },
    train::names::FilePath,
};

/// A sealed file in the spool.
pub struct SealedFile {
    /// Which of the two directories it is in.
    pub area: TrainDir,
    /// Its path there.
    pub path: FilePath,
    /// Its bytes in the spool.
    pub extent: Extent,
}

/// The sealed files of a train.
pub struct SealedFiles {
    /// Their bytes.
    pub spool: Spool,
    /// In the engine's order within each directory, once the archive has been read.
    pub files: Vec<SealedFile>,
    begun: u64,
}

impl SealedFiles {
    /// None yet.
    pub fn new(spool: Spool) -> Self {
        Self { spool, files: Vec::new(), begun: 0 }
    }

    pub(in crate::image) fn begin(&mut self, size: u64) -> Result<(), ImageError> {
        self.begun = self.spool.len();
        self.spool.check_space(size)
    }

    /// What was written since it began.
    pub(in crate::image) fn extent(&self) -> Extent {
        Extent { offset: self.begun, len: self.spool.len() - self.begun }
    }

    pub(in crate::image) fn keep(&mut self, area: TrainDir, path: FilePath, extent: Extent) {
        self.files.push(SealedFile { area, path, extent });
    }

    pub(in crate::image) fn finish(mut self) -> Result<Self, ImageError> {
        self.spool.flush()?;
        // An archive that was made anew may have another order.
        self.files.sort_by(|one, other| (one.area as u8, &one.path).cmp(&(other.area as u8, &other.path)));
        Ok(self)
    }
}
