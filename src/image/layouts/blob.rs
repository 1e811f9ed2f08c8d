//! A blob that is being written: a file without a name until it is whole.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::Path,
};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};

use super::failed;
use crate::image::{ImageError, saved::layout::blob_path, space::Space};

/// What a full disk is said to be under.
pub(super) const PLACE: &str = "layouts";
/// Bytes gathered before a write.
const BUFFER: usize = 256 * 1024;

/// A file that has no name yet (`O_TMPFILE`): whatever happens, nothing of it stays until [`NewBlob::keep`].
pub(super) struct NewBlob {
    file: BufWriter<File>,
}

impl NewBlob {
    /// Begins a file in a directory; `expected` bytes and `reserve` more must be free on its disk.
    pub fn create(directory: &Path, expected: u64, reserve: u64) -> Result<Self, ImageError> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        // For those to read who may read the directory: it may hold an opened train.
        let mode = fs::metadata(directory).map_err(failed)?.mode() & 0o044 | 0o600;
        let file = File::from(open(directory, flags, Mode::from_raw_mode(mode)).map_err(|error| failed(error.into()))?);
        Space::new(PLACE, reserve).claim(expected, || rustix::fs::fstatvfs(&file))?;
        Ok(Self { file: BufWriter::with_capacity(BUFFER, file) })
    }

    /// Writes all that was given to the disk; only then may it get its name.
    pub fn settle(self) -> Result<SettledBlob, ImageError> {
        let file = self.file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_data().map_err(failed)?;
        Ok(SettledBlob(file))
    }
}

impl Write for NewBlob {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A whole blob, on the disk, without a name.
pub(super) struct SettledBlob(File);

impl SettledBlob {
    /// Names it by its digest. One that is there already is the same.
    pub fn keep(self, layout: &Path, digest: &str) -> Result<(), ImageError> {
        let own = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        match linkat(CWD, own, CWD, layout.join(blob_path(digest)?), AtFlags::SYMLINK_FOLLOW) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(error) => Err(failed(error.into())),
        }
    }
}
