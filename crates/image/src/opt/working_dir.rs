//! Working directory of a run: an opened train as two directories on a disk that service and engine share.
//!
//! The content written here is plaintext, as configured. It exists from the first opened byte until
//! [`WorkingDir::remove`]. The content read here was left by a run: links, special files and files that change while they
//! are read are rejected as in an image.

pub mod read;
pub mod write;

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use stationmaster_system::files::Directory;
use stationmaster_train::{names::FilePath, rule::Rule};

pub use self::write::DirectoryWriter;
use crate::{
    ImageError,
    opt::train_dirs::{CONFIG_LIMIT, TrainDir},
};

/// Name of the location in errors.
const PLACE: &str = "directory";

/// The directory of one run, with `pht_train` and `pht_results` below it.
#[derive(Clone, Debug)]
pub struct WorkingDir {
    path: PathBuf,
}

impl WorkingDir {
    /// Returns the place of a run below the shared directory; nothing is created.
    pub fn of(shared: &Path, run_id: &str) -> Self {
        Self { path: shared.join(run_id) }
    }

    /// Returns the directory's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the directory of an area's content.
    pub fn area(&self, area: TrainDir) -> PathBuf {
        self.path.join(area.name())
    }

    /// Creates it, empty, for its owner only. `expected` bytes and `reserve` more must be free on its disk.
    pub fn create(&self, expected: u64, reserve: u64) -> Result<DirectoryWriter, ImageError> {
        let made = Directory::of_file(&self.path).and_then(|(shared, name)| shared.make(name)).map_err(failed)?;
        let mut writer = DirectoryWriter::new(made, reserve);
        writer.check_space(expected)?;
        Ok(writer)
    }

    /// Reads a small file, with a limit of [`CONFIG_LIMIT`] bytes.
    pub fn read_small(&self, area: TrainDir, path: &FilePath) -> Result<Vec<u8>, ImageError> {
        let file = Directory::open(&self.area(area)).and_then(|area| area.open_file(path.as_str()));
        let file = file.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => ImageError::policy(Rule::NoLinks, path.as_str()),
            _ => ImageError::at(PLACE)(error),
        })?;
        let mut content = Vec::new();
        file.take(CONFIG_LIMIT + 1).read_to_end(&mut content).map_err(ImageError::at(PLACE))?;
        if content.len() as u64 > CONFIG_LIMIT { Err(ImageError::Limit("bytes of a small file")) } else { Ok(content) }
    }

    /// Removes it with its content. A missing directory is not an error.
    pub fn remove(&self) -> Result<(), ImageError> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ImageError::at(PLACE)(error)),
            _ => Ok(()),
        }
    }
}

/// Converts an error of the directory.
fn failed(error: impl Into<io::Error>) -> ImageError {
    let error = error.into();
    match error.kind() {
        io::ErrorKind::InvalidFilename => ImageError::Limit("length of a path"),
        _ => ImageError::at(PLACE)(error),
    }
}

#[cfg(test)]
mod tests;
