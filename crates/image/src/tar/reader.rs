//! Strict reader of untrusted tar archives: of `/opt`, of a saved image, of its layers. No two readers can interpret an accepted
//! archive in different ways.
//!
//! Tar has several dialects, and readers differ in how they interpret mixtures: which of two names counts, whether a
//! directory has content, where a record ends. Only what every reader understands alike is accepted: POSIX and GNU headers,
//! GNU's long names, PAX records for the next entry. The rest is rejected, as is everything that would need more memory than
//! [`EXTENSION_LIMIT`]. `tests/it/images/tarfile.rs` compares this reader with Python's.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use tar::{EntryType, Header};

use super::{
    entry::{BLOCK, FileAttrs},
    file_kind::{self, CUT_OFF},
    header::HeaderFields,
    pax::{self, Pax},
};
use crate::ImageError;

/// Maximum size of an extended header (names, PAX records with extended attributes), in bytes.
pub(crate) const EXTENSION_LIMIT: u64 = 1024 * 1024;
/// From this size on, in bytes, a file's size does not fit its header's octal field; only PAX states it then.
const BEYOND_OCTAL: u64 = 1 << 33;

/// An entry of the archive.
#[derive(Debug)]
pub struct TarEntry {
    /// Its name in the archive's spelling: not empty, no NUL; a directory's may end in a slash.
    pub path: Vec<u8>,
    /// One of the seven POSIX types.
    pub kind: EntryType,
    /// Bytes of content; only regular files have any.
    pub size: u64,
    /// Owner, mode and time; the mode with all bits of the header.
    pub meta: FileAttrs,
    /// A link's target, without NUL; meaningless for other types.
    pub link: Vec<u8>,
    /// A device's major and minor number; meaningless for other types.
    pub device: (u32, u32),
    /// Extended attributes, by name (PAX `SCHILY.xattr.` without that prefix).
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Position of its content in the archive, in bytes.
    pub position: u64,
}

impl TarEntry {
    /// Whether it has content.
    #[must_use]
    pub fn is_file(&self) -> bool {
        is_file(self.kind)
    }
}

fn is_file(kind: EntryType) -> bool {
    matches!(kind, EntryType::Regular | EntryType::Continuous)
}

/// Reads an archive, entry by entry.
pub(crate) struct TarReader<R> {
    archive: R,
    /// Number of bytes read.
    position: u64,
    /// Whether it is a layer, which may end where a header would begin, and has no global header.
    is_layer: bool,
    /// Unread bytes of the open entry's content.
    content: u64,
    /// Bytes between its content and the next header.
    padding: u64,
}

/// Values of extended headers for the next entry.
#[derive(Default)]
struct Pending {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Option<Pax>,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.name.is_none() && self.link.is_none() && self.pax.is_none()
    }
}

impl<R: Read> TarReader<R> {
    /// Creates a reader of `archive`, which is read in small pieces.
    pub(crate) fn new(archive: R) -> Self {
        Self { archive, position: 0, is_layer: false, content: 0, padding: 0 }
    }

    /// As [`TarReader::new`], for a layer. Some builders omit its end; its digest shows whether it is complete.
    pub(crate) fn of_layer(archive: R) -> Self {
        Self { is_layer: true, ..Self::new(archive) }
    }

    /// Returns the next entry, and skips unread content of the last one. `None` at the archive's end.
    pub(crate) fn next(&mut self) -> Result<Option<TarEntry>, ImageError> {
        self.skip()?;
        let (mut pending, mut global) = (Pending::default(), false);
        loop {
            let Some(header) = self.header()? else {
                return if pending.is_empty() && !global {
                    Ok(None)
                } else {
                    Err(ImageError::Malformed("an extended header of nothing"))
                };
            };
            let fields = HeaderFields::read(&header).map_err(|error| self.not_a_header(&header, error))?;
            match header.entry_type() {
                EntryType::GNULongName => set(&mut pending.name, self.long_name(fields.size)?)?,
                EntryType::GNULongLink => set(&mut pending.link, self.long_name(fields.size)?)?,
                EntryType::XHeader => set(&mut pending.pax, Pax::read(&self.extension(fields.size)?)?)?,
                EntryType::XGlobalHeader if self.is_layer => {
                    return Err(ImageError::Malformed("a global header in a layer: engines act on its name"));
                }
                EntryType::XGlobalHeader if pending.is_empty() => {
                    pax::check_global(&fields.path, &self.extension(fields.size)?)?;
                    global = true;
                }
                kind => {
                    let entry = entry(kind, fields, pending, self.position)?;
                    self.content = entry.size;
                    self.padding = entry.size.checked_next_multiple_of(BLOCK).ok_or(TOO_LARGE)? - entry.size;
                    return Ok(Some(entry));
                }
            }
        }
    }

    fn skip(&mut self) -> Result<(), ImageError> {
        self.content = self.content.checked_add(self.padding).ok_or(TOO_LARGE)?;
        self.padding = 0;
        let mut buffer = [0; 16 * 1024];
        while self.read(&mut buffer).map_err(ImageError::from_io)? > 0 {}
        Ok(())
    }

    fn header(&mut self) -> Result<Option<Header>, ImageError> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut filled = 0;
        while filled < block.len() {
            match self.archive.read(&mut block[filled..]).map_err(ImageError::from_io)? {
                0 if filled == 0 && self.is_layer => return Ok(None),
                0 if self.position == 0 && !self.is_layer => return Err(file_kind::archive(&block[..filled], ENDS_EARLY)),
                // Without its end mark, an archive cut between two entries would pass for a complete one.
                0 => return Err(ENDS_EARLY),
                count => filled += count,
            }
        }
        self.position += BLOCK;
        Ok(if block.iter().all(|byte| *byte == 0) { None } else { Some(header) })
    }

    /// Returns the error for an input that begins without a header: it is another kind of file.
    fn not_a_header(&self, block: &Header, error: ImageError) -> ImageError {
        let block = block.as_bytes();
        let is_first = self.position == BLOCK && !self.is_layer;
        if is_first && &block[257..262] != b"ustar" { file_kind::archive(block, error) } else { error }
    }

    /// Reads the whole content of an extended header.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>, ImageError> {
        if size > EXTENSION_LIMIT {
            return Err(ImageError::Limit("bytes of an extended header"));
        }
        self.content = size;
        let mut content = Vec::new();
        let mut buffer = [0; 4 * 1024];
        loop {
            match self.read(&mut buffer).map_err(ImageError::from_io)? {
                0 => break,
                count => content.extend_from_slice(&buffer[..count]),
            }
        }
        self.padding = size.next_multiple_of(BLOCK) - size;
        self.skip()?;
        Ok(content)
    }

    fn long_name(&mut self, size: u64) -> Result<Vec<u8>, ImageError> {
        let mut name = self.extension(size)?;
        if name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }
}

/// Reads the open entry's content. An archive that ends before it is malformed; errors contain an [`ImageError`].
impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.content).map_or(buffer.len(), |left| left.min(buffer.len()));
        if most == 0 {
            return Ok(0);
        }
        let count = self.archive.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::Error::other(ENDS_EARLY));
        }
        self.content -= count as u64;
        self.position += count as u64;
        Ok(count)
    }
}

const ENDS_EARLY: ImageError = ImageError::Malformed(CUT_OFF);
const TOO_LARGE: ImageError = ImageError::Malformed("a size beyond 64 bits");

fn set<T>(place: &mut Option<T>, value: T) -> Result<(), ImageError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(ImageError::Malformed("two extended headers of one kind for one entry")),
    }
}

fn entry(kind: EntryType, fields: HeaderFields, pending: Pending, position: u64) -> Result<TarEntry, ImageError> {
    use EntryType::{Block, Char, Continuous, Directory, Fifo, Link, Regular, Symlink};
    let known = matches!(kind, Regular | Continuous | Directory | Symlink | Link | Char | Block | Fifo);
    // Some readers take the old format's type 0 for a directory if its name ends in a slash, wherever the name is from (see below).
    if !known || fields.old_type && fields.path.ends_with(b"/") {
        return Err(ImageError::Malformed("an entry of unknown type"));
    }
    let pax = pending.pax.unwrap_or_default();
    if (pending.name.is_some() && pax.path.is_some()) || (pending.link.is_some() && pax.link.is_some()) {
        return Err(ImageError::Malformed("two long names for one entry"));
    }
    let path = pending.name.or(pax.path).unwrap_or(fields.path);
    if path.is_empty() || path.contains(&0) {
        return Err(ImageError::Malformed("a name that is empty or holds a NUL"));
    }
    let link = pending.link.or(pax.link).unwrap_or(fields.link);
    if link.contains(&0) {
        return Err(ImageError::Malformed("a link's target that holds a NUL"));
    }
    let size = match pax.size {
        Some(size) if size != fields.size && (fields.size != 0 || size < BEYOND_OCTAL) => {
            return Err(ImageError::Malformed("two sizes for one entry"));
        }
        Some(size) => size,
        None => fields.size,
    };
    let is_file = is_file(kind);
    // Some readers skip such content, others read it as headers.
    if !is_file && size != 0 {
        return Err(ImageError::Malformed("content of what is no file"));
    }
    if is_file && path.ends_with(b"/") {
        return Err(ImageError::Malformed("a file whose name ends in a slash"));
    }
    // The last one means "unchanged" to chown.
    let owner = |id: u64| match id < u64::from(u32::MAX) {
        true => Ok(id),
        false => Err(ImageError::Malformed("an owner beyond 32 bits")),
    };
    let meta = FileAttrs {
        mode: u32::try_from(fields.mode).map_err(|_| ImageError::Malformed("a mode beyond 32 bits"))?,
        uid: owner(pax.uid.unwrap_or(fields.uid))?,
        gid: owner(pax.gid.unwrap_or(fields.gid))?,
        mtime: fields.mtime,
    };
    Ok(TarEntry { path, kind, size, meta, link, device: fields.device, xattrs: pax.xattrs, position })
}

#[cfg(test)]
mod tests;
