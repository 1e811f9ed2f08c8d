//! Sealed files of a train, kept in the spool while its archive is read once.

use stationmaster_train::names::FilePath;

use crate::{
    ImageError,
    disk::spool::{Extent, Spool},
    opt::train_dirs::TrainDir,
};

/// A sealed file in the spool.
pub struct SealedFile {
    /// The directory that contains it.
    pub area: TrainDir,
    /// Its path there.
    pub path: FilePath,
    /// Its bytes in the spool.
    pub extent: Extent,
}

/// The sealed files of a train.
pub struct SealedFiles {
    /// The spool with their content.
    pub spool: Spool,
    /// The files, in the engine's order within each directory once the archive has been read.
    pub files: Vec<SealedFile>,
    begun: u64,
}

impl SealedFiles {
    /// Creates an empty set.
    pub fn new(spool: Spool) -> Self {
        Self { spool, files: Vec::new(), begun: 0 }
    }

    pub(crate) fn begin(&mut self, size: u64) -> Result<(), ImageError> {
        self.begun = self.spool.len();
        self.spool.check_space(size)
    }

    /// Returns the extent written since the file began.
    pub(crate) fn extent(&self) -> Extent {
        Extent { offset: self.begun, len: self.spool.len() - self.begun }
    }

    pub(crate) fn keep(&mut self, area: TrainDir, path: FilePath, extent: Extent) {
        self.files.push(SealedFile { area, path, extent });
    }

    pub(crate) fn finish(mut self) -> Result<Self, ImageError> {
        self.spool.flush()?;
        // A repacked archive may have another order.
        self.files.sort_by(|one, other| (one.area as u8, &one.path).cmp(&(other.area as u8, &other.path)));
        Ok(self)
    }
}
