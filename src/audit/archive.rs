//! Moves whole old segments of a log to another directory. The remaining segments are verified and continued as before: the first
//! record of a segment describes the log before it.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use stationmaster_system::files::{Directory, NewFile, input};

use super::{AuditError, read};

/// Number of segments that always stay: the one being written, and the one before it, with which a log continues whose newest
/// segment was cut off at its first record.
pub const LEAST_KEPT: u64 = 2;

/// Returns the segments of a log's directory that may be moved when `keep` of them stay.
///
/// # Errors
/// When the directory cannot be read.
pub fn movable(directory: &Path, keep: u64) -> Result<Vec<(u64, PathBuf)>, AuditError> {
    let mut all = read::segments(directory)?;
    let keep = usize::try_from(keep.max(LEAST_KEPT)).unwrap_or(usize::MAX);
    all.truncate(all.len().saturating_sub(keep));
    Ok(all)
}

/// Moves a segment into a directory, which is created if necessary. The segment is complete there, and on the disk, before it is
/// removed here. A segment that exists there already, because an earlier move was interrupted, must be identical.
///
/// # Errors
/// When it cannot be moved; it then stays where it was.
pub fn move_segment(segment: &Path, archive: &Path) -> Result<(), AuditError> {
    let flaw = |source| AuditError::io(format!("move {} to {}", segment.display(), archive.display()), source);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(archive).map_err(flaw)?;
    let name = segment.file_name().ok_or_else(|| flaw(io::Error::from(io::ErrorKind::InvalidInput)))?;
    let target = archive.join(name);
    match renameat_with(CWD, segment, CWD, &target, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        Err(rustix::io::Errno::EXIST) if same(segment, &target).map_err(flaw)? => fs::remove_file(segment).map_err(flaw)?,
        Err(rustix::io::Errno::EXIST) => {
            return Err(AuditError::Broken { file: target, what: "it is another segment of the same name".to_owned() });
        }
        Err(rustix::io::Errno::XDEV) => copy(segment, &target).map_err(flaw)?,
        Err(error) => return Err(flaw(error.into())),
    }
    let sync = |directory: &Path| File::open(directory)?.sync_all();
    sync(archive).and_then(|()| segment.parent().map_or(Ok(()), sync)).map_err(flaw)
}

/// Copies a segment to another file system.
fn copy(segment: &Path, target: &Path) -> io::Result<()> {
    let (archive, name) = Directory::of_file(target)?;
    let mut to = NewFile::begin(&archive, name, 0o600)?;
    io::copy(&mut input::open_regular(segment)?, &mut to)?;
    to.sync()?.publish_new()?;
    fs::remove_file(segment)
}

fn same(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (input::open_regular(one)?, input::open_regular(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let read = one.read(&mut left)?;
        if read == 0 {
            return Ok(true);
        }
        other.read_exact(&mut right[..read])?;
        if left[..read] != right[..read] {
            return Ok(false);
        }
    }
}
