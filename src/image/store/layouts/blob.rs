//! A blob that is being written: a file without a name until it is whole.

use std::{
    fs::{File, Permissions},
    io::{self, BufWriter, Write},
    os::unix::fs::{PermissionsExt, fchown},
};

use super::failed;
use crate::{
    files::Directory,
    image::{ImageError, disk::space::DiskSpace},
};

/// What a full disk is said to be under.
pub(super) const PLACE: &str = "layouts";
/// Bytes gathered before a write.
const BUFFER: usize = 256 * 1024;

/// For whom to read a blob is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Readers {
    /// Those who can read its directory: it holds ciphertext, and is carried on.
    OfDirectory,
    /// The service's user, and this group: it holds an opened train.
    Group(Option<u32>),
}

/// A file that has no name yet (`O_TMPFILE`): whatever happens, nothing of it stays until [`NewBlob::keep`].
pub(super) struct NewBlob {
    file: BufWriter<File>,
}

impl NewBlob {
    /// Begins a file in a directory; `expected` bytes and `reserve` more must be free on its disk.
    pub fn create(directory: &Directory, expected: u64, reserve: u64, readers: Readers) -> Result<Self, ImageError> {
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

    /// Writes all that was given to the disk; only then may it get its name.
    pub fn finish(self) -> Result<FinishedBlob, ImageError> {
        let file = self.file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_data().map_err(failed)?;
        Ok(FinishedBlob(file))
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
pub(super) struct FinishedBlob(File);

impl FinishedBlob {
    /// Names it by its digest. One that is there already is the same.
    pub fn publish(self, blobs: &Directory, digest: &str) -> Result<(), ImageError> {
        match blobs.link(&self.0, digest.trim_start_matches("sha256:")) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error)),
            _ => Ok(()),
        }
    }
}
