//! Reads files that a user or a configuration names, without waiting for them and with a size limit.

use std::{
    fs::{File, FileType},
    io::{self, Read},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::denied::explained;

/// Why a file is not read although it can be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// It is not a regular file.
    #[error("it is {0}, not a regular file")]
    Kind(&'static str),
    /// It is longer than the limit, in bytes.
    #[error("it has more than {}, the maximum for such a file", size(*.0))]
    TooLong(u64),
}

impl From<InputError> for io::Error {
    fn from(unfit: InputError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, unfit)
    }
}

/// Opens a regular file. A path that names a descriptor (`/dev/stdin`, `/dev/fd/63` of a shell's `<(…)`) may also be a pipe or a
/// terminal, because its creator writes to it. A FIFO or device by any other name is refused, and never waited for.
///
/// # Errors
/// When it does not exist, is of another kind, or cannot be opened; when permission is missing, with the owner and a remedy.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(|error| match error.raw_os_error() {
        // A socket cannot be opened.
        Some(libc::ENXIO) => InputError::Kind("a socket").into(),
        _ => explained(path, error),
    })?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    if kind.is_dir() {
        return Err(rustix::io::Errno::ISDIR.into());
    }
    if !is_descriptor(path) || kind.is_block_device() {
        return Err(InputError::Kind(named(kind)).into());
    }
    fcntl_setfl(&file, fcntl_getfl(&file)?.difference(OFlags::NONBLOCK))?;
    Ok(file)
}

/// Opens a file for random access: a regular one, whatever its path.
///
/// # Errors
/// As [`open`].
pub fn open_regular(path: &Path) -> io::Result<File> {
    let file = open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() { Ok(file) } else { Err(InputError::Kind(named(kind)).into()) }
}

/// Reads a file of at most `limit` bytes; see [`open`].
///
/// # Errors
/// As [`open`], and when it is longer.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    read_into(path, limit, &mut bytes)?;
    Ok(bytes)
}

/// As [`read`], appending to `bytes`: the reader of a secret has the capacity beforehand, because a growing buffer leaves copies behind.
///
/// # Errors
/// As [`read`].
pub fn read_into(path: &Path, limit: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    bounded_into(open(path)?, limit, bytes)
}

/// Reads a text of at most `limit` bytes; see [`open`].
///
/// # Errors
/// As [`read`], and `InvalidData` when it is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    String::from_utf8(read(path, limit)?).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// Reads at most `limit` bytes of a file; a longer file is refused.
pub(super) fn bounded(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bounded_into(file, limit, &mut bytes)?;
    Ok(bytes)
}

fn bounded_into(file: File, limit: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    let before = bytes.len() as u64;
    if file.metadata()?.len() > limit {
        return Err(InputError::TooLong(limit).into());
    }
    file.take(limit + 1).read_to_end(bytes)?;
    if bytes.len() as u64 - before > limit { Err(InputError::TooLong(limit).into()) } else { Ok(()) }
}

/// Returns whether a path names a descriptor of this process.
pub(super) fn is_descriptor(path: &Path) -> bool {
    let parent = path.parent();
    ["/dev/stdin", "/dev/stdout", "/dev/stderr"].iter().any(|known| path.as_os_str() == *known)
        || ["/dev/fd", "/proc/self/fd"].iter().any(|known| parent == Some(Path::new(known)))
}

fn named(kind: FileType) -> &'static str {
    if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_char_device() || kind.is_block_device() {
        "a device"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "something else"
    }
}

/// Formats a number of bytes in the largest unit of which it is a whole multiple.
fn size(bytes: u64) -> String {
    match bytes {
        0 => "0 bytes".to_owned(),
        bytes if bytes % (1 << 20) == 0 => format!("{} MiB", bytes >> 20),
        bytes if bytes % (1 << 10) == 0 => format!("{} KiB", bytes >> 10),
        bytes => format!("{bytes} bytes"),
    }
}
