//! The spool: an unlinked temporary file that gives random access to streamed data.
//!
//! It has no name, and its space is freed when it is dropped or the process dies. The caller decides about its content: the steps
//! write sealed content only. It is also used for uploads and, next to a layout, for the content of that layout's compressed
//! layers.

use std::{fs::File, io::Write, os::unix::fs::FileExt, path::Path, sync::Arc};

use super::space::DiskSpace;
use crate::ImageError;

/// Bytes buffered before a write to the file.
const BUFFER: usize = 256 * 1024;

/// Name of the location in errors.
const PLACE: &str = "spool";

/// A range of bytes in the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Start, in bytes.
    pub offset: u64,
    /// Length, in bytes.
    pub len: u64,
}

/// Minimum size in bytes for closing the file on a separate thread: freeing a gigabyte takes a fifth of a second.
const LARGE: u64 = 64 << 20;

/// An anonymous file that is written once, front to back, and then read at any position.
#[derive(Debug)]
pub struct Spool {
    file: Arc<File>,
    pending: Vec<u8>,
    len: u64,
    space: DiskSpace,
}

impl Spool {
    /// Creates a spool in `directory`. Its disk must have `expected` bytes and `reserve` more free.
    pub fn create(directory: &Path, expected: u64, reserve: u64) -> Result<Self, ImageError> {
        let file = Arc::new(tempfile::tempfile_in(directory).map_err(ImageError::at(PLACE))?);
        let mut spool = Self { file, pending: Vec::with_capacity(BUFFER), len: 0, space: DiskSpace::new(PLACE, reserve) };
        spool.check_space(expected)?;
        Ok(spool)
    }

    /// Fails when fewer than `needed` bytes are free above the reserve.
    pub fn check_space(&mut self, needed: u64) -> Result<(), ImageError> {
        self.space.claim(needed, || rustix::fs::fstatvfs(&self.file))
    }

    /// Returns the number of bytes written so far, which is the position of the next one.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends bytes.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        if self.pending.len() + bytes.len() > BUFFER {
            self.flush()?;
        }
        if bytes.len() >= BUFFER {
            self.file.as_ref().write_all(bytes).map_err(ImageError::at(PLACE))?;
        } else {
            self.pending.extend_from_slice(bytes);
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Writes the buffered bytes to the file; required before [`Spool::read`].
    pub fn flush(&mut self) -> Result<(), ImageError> {
        self.file.as_ref().write_all(&self.pending).map_err(ImageError::at(PLACE))?;
        self.pending.clear();
        Ok(())
    }

    /// Fills `buffer` from `offset`.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ImageError> {
        self.file.read_exact_at(buffer, offset).map_err(ImageError::at(PLACE))
    }

    /// Passes an extent's bytes to `each`, chunk by chunk, through one buffer.
    pub fn stream<E: From<ImageError>>(
        &self,
        extent: Extent,
        buffer: &mut [u8],
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut offset, end) = (extent.offset, extent.offset + extent.len);
        while offset < end {
            let n = usize::try_from(end - offset).map_or(buffer.len(), |left| left.min(buffer.len()));
            self.read(offset, &mut buffer[..n])?;
            each(&buffer[..n])?;
            offset += n as u64;
        }
        Ok(())
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if self.len >= LARGE {
            let file = Arc::clone(&self.file);
            // If no thread can be started, the file is closed here.
            let _ = std::thread::Builder::new().name("spool".into()).spawn(move || drop(file));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::disk::spool::*;

    #[test]
    fn what_was_appended_is_read_back_anywhere() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::create(directory.path(), 0, 0).unwrap();
        let big = vec![7u8; BUFFER + 5];
        spool.append(b"abc").unwrap();
        spool.append(&big).unwrap();
        spool.append(b"xyz").unwrap();
        spool.flush().unwrap();
        let mut out = Vec::new();
        let extent = Extent { offset: 2, len: BUFFER as u64 + 8 };
        spool
            .stream(extent, &mut [0; 1000], |b| {
                out.extend_from_slice(b);
                Ok::<_, ImageError>(())
            })
            .unwrap();
        assert_eq!(out, [&b"c"[..], &big, &b"xy"[..]].concat()[..extent.len as usize]);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "the spool has no name");
    }

    #[test]
    fn too_little_space_is_refused_before_anything_is_read() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(Spool::create(directory.path(), u64::MAX / 2, 0), Err(ImageError::DiskFull { .. })));
    }
}
