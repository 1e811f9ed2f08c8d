//! Writes the one new layer of an image as a tar archive.
//!
//! The layer is generated entry by entry, so nothing of a container gets into it. Its length is needed before its first byte
//! (for the outer archive's header), so [`LayerPlan`] comes first and [`LayerWriter`] after it. A directory is made opaque
//! with the layer format's own entry (OCI image-spec, layer.md "Opaque Whiteout"), so that no content of lower layers is visible
//! in it.

use std::io::{self, Write};

use stationmaster_train::digest::{FileHasher, Sha256Digest};
use tar::EntryType;

use super::{
    entry::{BLOCK, EntryPath, FileAttrs},
    header_writer::{header_blocks, header_len},
};
use crate::{ImageError, oci::whiteouts::OPAQUE};

/// Two zero blocks end an archive.
const END: u64 = 2 * BLOCK;
/// One entry of the planned layer.
#[derive(Clone, Debug)]
pub enum LayerEntry<'a, T> {
    /// A directory; `opaque` hides all content of lower layers in it.
    Directory {
        /// Path from the image's root.
        path: EntryPath<'a>,
        /// Its owner, mode and time.
        meta: FileAttrs,
        /// Whether lower layers are hidden.
        opaque: bool,
    },
    /// A regular file.
    File {
        /// Path from the image's root.
        path: EntryPath<'a>,
        /// Its owner, mode and time.
        meta: FileAttrs,
        /// Its length in bytes.
        size: u64,
        /// The caller's reference to its content.
        content: T,
    },
}

/// The entries of a layer in the order they are written, and the resulting length.
#[derive(Debug)]
pub struct LayerPlan<'a, T> {
    entries: Vec<LayerEntry<'a, T>>,
    bytes: u64,
    content: u64,
}

impl<T> Default for LayerPlan<'_, T> {
    fn default() -> Self {
        Self { entries: Vec::new(), bytes: END, content: 0 }
    }
}

impl<'a, T> LayerPlan<'a, T> {
    /// Reserves capacity for more entries.
    pub fn reserve(&mut self, entries: usize) {
        self.entries.reserve_exact(entries);
    }

    /// Adds a directory.
    pub fn directory(&mut self, path: impl Into<EntryPath<'a>>, meta: FileAttrs, opaque: bool) {
        let path = path.into();
        self.bytes += header_len(path.len() + 1);
        if opaque {
            self.bytes += header_len(path.len() + 1 + OPAQUE.len());
        }
        self.entries.push(LayerEntry::Directory { path, meta, opaque });
    }

    /// Adds a regular file of `size` bytes.
    pub fn file(&mut self, path: impl Into<EntryPath<'a>>, meta: FileAttrs, size: u64, content: T) {
        let path = path.into();
        self.bytes += header_len(path.len()) + size.next_multiple_of(BLOCK);
        self.content += size;
        self.entries.push(LayerEntry::File { path, meta, size, content });
    }

    /// Returns the length of the layer's archive, in bytes.
    pub fn len(&self) -> u64 {
        self.bytes
    }

    /// Whether the layer has no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the bytes of file content in the layer.
    pub fn content_len(&self) -> u64 {
        self.content
    }

    /// Returns the entries, in order.
    pub fn entries(&self) -> &[LayerEntry<'a, T>] {
        &self.entries
    }
}

/// Writes the whole archive. `content` passes a file's bytes to its second argument. Errors of `out` contain an [`ImageError`].
pub fn write_archive<T, E: From<ImageError>>(
    out: &mut dyn Write,
    plan: &LayerPlan<'_, T>,
    mut content: impl FnMut(&T, &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E>,
) -> Result<(), E> {
    let mut archive = LayerWriter::new(out);
    for entry in plan.entries() {
        archive.begin(entry).map_err(output_error)?;
        if let LayerEntry::File { content: source, .. } = entry {
            content(source, &mut |bytes| Ok(archive.content(bytes).map_err(output_error)?))?;
        }
    }
    archive.finish().map_err(output_error)?;
    Ok(())
}

/// Converts the error of an output whose errors contain an [`ImageError`]. Any other is the archive's own: its content is not as
/// long as planned, so the spool has changed.
pub(crate) fn output_error(error: io::Error) -> ImageError {
    error.downcast().unwrap_or_else(|source| ImageError::Io { place: "spool", source })
}

/// Writer that hashes the bytes passed to `out`.
pub struct HashingWriter<'a, W: Write + ?Sized> {
    out: &'a mut W,
    hasher: FileHasher,
}

impl<'a, W: Write + ?Sized> HashingWriter<'a, W> {
    /// Writes to `out`.
    pub fn new(out: &'a mut W) -> Self {
        Self { out, hasher: FileHasher::new() }
    }

    /// Returns the digest of all bytes written.
    pub fn finish(self) -> Sha256Digest {
        self.hasher.finish()
    }
}

impl<W: Write + ?Sized> Write for HashingWriter<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes a layer's archive, entry by entry.
pub struct LayerWriter<'a, W: Write + ?Sized> {
    out: &'a mut W,
    open: u64,
    written: u64,
}

impl<'a, W: Write + ?Sized> LayerWriter<'a, W> {
    /// Writes to `out`.
    pub fn new(out: &'a mut W) -> Self {
        Self { out, open: 0, written: 0 }
    }

    /// Writes an entry's headers; a file's content must follow, `size` bytes of it.
    pub fn begin<T>(&mut self, entry: &LayerEntry<'_, T>) -> io::Result<()> {
        self.close_file()?;
        match entry {
            LayerEntry::Directory { path, meta, opaque } => {
                self.header(&format!("{path}/"), EntryType::Directory, *meta, 0)?;
                if *opaque {
                    self.header(&format!("{path}/{OPAQUE}"), EntryType::Regular, FileAttrs { mode: 0o600, ..*meta }, 0)?;
                }
                Ok(())
            }
            LayerEntry::File { path, meta, size, .. } => {
                self.header(&path.to_string(), EntryType::Regular, *meta, *size)?;
                self.open = *size;
                Ok(())
            }
        }
    }

    /// Writes a chunk of the open file's content.
    pub fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.open = self.open.checked_sub(bytes.len() as u64).ok_or_else(|| io::Error::other("a file is longer than planned"))?;
        self.put(bytes)
    }

    /// Ends the archive and returns its length.
    pub fn finish(mut self) -> io::Result<u64> {
        self.close_file()?;
        self.put(&[0; END as usize])?;
        Ok(self.written)
    }

    fn close_file(&mut self) -> io::Result<()> {
        if self.open != 0 {
            return Err(io::Error::other("a file is shorter than planned"));
        }
        let pad = self.written.next_multiple_of(BLOCK) - self.written;
        self.put(&[0; BLOCK as usize][..pad as usize])
    }

    fn header(&mut self, path: &str, kind: EntryType, meta: FileAttrs, size: u64) -> io::Result<()> {
        let blocks = header_blocks(path, kind, meta, size);
        self.put(&blocks)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}

#[cfg(test)]
mod tests;
