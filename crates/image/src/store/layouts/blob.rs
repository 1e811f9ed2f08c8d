//! Writes a blob of a layout: a file without a name until it is complete.

use std::{
    fs::{File, Permissions},
    io::{self, BufWriter, Write},
    os::unix::fs::{PermissionsExt, fchown},
};

use stationmaster_system::files::Directory;
use stationmaster_train::digest::Sha256Digest;

use super::failed;
use crate::{ImageError, disk::space::DiskSpace};

/// Name of the location in the disk-full error.
pub(super) const PLACE: &str = "layouts";
/// Bytes buffered before a write.
const BUFFER: usize = 256 * 1024;

/// The readers of a blob.
#[derive(Clone, Copy, Debug)]
pub(super) enum Readers {
    /// All readers of its directory: it contains ciphertext, and is transported further.
    OfDirectory,
    /// The service's user, and this group: it contains an opened train.
    Group(Option<u32>),
}

/// A file that has no name yet (`O_TMPFILE`). Nothing of it stays after a failure before [`FinishedBlob::publish`]. Errors of
/// writing contain an [`ImageError`].
pub(super) struct NewBlob {
    file: BufWriter<File>,
}

impl NewBlob {
    /// Creates a file in a directory; `expected` bytes and `reserve` more must be free on its disk.
    pub(super) fn create(directory: &Directory, expected: u64, reserve: u64, readers: Readers) -> Result<Self, ImageError> {
        let file = directory.unnamed(0o600).map_err(failed)?;
        let open_to = |mode| file.set_permissions(Permissions::from_mode(mode));
        match readers {
            Readers::OfDirectory => directory.stat().and_then(|own| open_to(own.st_mode & 0o044 | 0o600)),
            Readers::Group(None) => Ok(()),
            Readers::Group(group) => fchown(&file, None, group).and_then(|()| open_to(0o640)),
        }
        .map_err(failed)?;
        DiskSpace::new(PLACE, reserve).claim(expected, || rustix::fs::fstatvfs(&file))?;
        Ok(Self { file: BufWriter::with_capacity(BUFFER, file) })
    }

    /// Writes all data to the disk. The file may get its name only afterwards.
    pub(super) fn finish(self) -> Result<FinishedBlob, ImageError> {
        let file = self.file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_data().map_err(failed)?;
        Ok(FinishedBlob(file))
    }
}

impl Write for NewBlob {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes).map_err(|error| io::Error::other(failed(error)))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush().map_err(|error| io::Error::other(failed(error)))
    }
}

/// A complete blob on the disk, without a name.
pub(super) struct FinishedBlob(File);

impl FinishedBlob {
    /// Names the blob by its digest. An existing blob of that name is the same.
    pub(super) fn publish(self, blobs: &Directory, digest: &Sha256Digest) -> Result<(), ImageError> {
        match blobs.link(&self.0, digest.to_hex()) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error)),
            _ => Ok(()),
        }
    }
}
