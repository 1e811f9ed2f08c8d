//! Names and attributes of entries, for reader and writer.

use std::{borrow::Cow, fmt};

use crate::ImageError;

/// Tar's block size, in bytes.
pub(crate) const BLOCK: u64 = 512;

/// Owner, mode and time of a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileAttrs {
    /// Permission bits, without the file type.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Seconds since 1970.
    pub mtime: u64,
}

impl FileAttrs {
    /// Returns train_lib's attributes of immutable files: root's, 0644.
    pub fn immutable_file(mtime: u64) -> Self {
        Self { mode: 0o644, uid: 0, gid: 0, mtime }
    }

    /// Returns the attributes of a directory of root's, 0755.
    pub fn directory(mtime: u64) -> Self {
        Self { mode: 0o755, uid: 0, gid: 0, mtime }
    }
}

/// A path from the image's root, without a leading slash. Its parts are borrowed if possible: a layer may have very many paths.
#[derive(Clone, Debug)]
pub struct EntryPath<'a> {
    directory: &'a str,
    below: Cow<'a, str>,
}

impl<'a> EntryPath<'a> {
    /// Returns the path `below` in `directory`.
    pub fn new(directory: &'a str, below: &'a str) -> Self {
        Self { directory, below: Cow::Borrowed(below) }
    }

    pub(super) fn len(&self) -> usize {
        let slash = usize::from(!self.directory.is_empty());
        self.directory.len() + slash + self.below.len()
    }
}

impl<'a> From<&'a str> for EntryPath<'a> {
    fn from(path: &'a str) -> Self {
        Self::new("", path)
    }
}

impl From<String> for EntryPath<'_> {
    fn from(path: String) -> Self {
        Self { directory: "", below: Cow::Owned(path) }
    }
}

impl fmt::Display for EntryPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.directory.is_empty() { "" } else { "/" };
        write!(f, "{}{slash}{}", self.directory, self.below)
    }
}

/// Returns a path without `./` and slashes around it; `None` for the root. Climbing paths are rejected.
pub fn plain_path(path: &[u8]) -> Result<Option<Vec<u8>>, ImageError> {
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    if parts.contains(&&b".."[..]) {
        return Err(ImageError::Malformed("a path that climbs"));
    }
    Ok((!parts.is_empty()).then(|| parts.join(&b'/')))
}
