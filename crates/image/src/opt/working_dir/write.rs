//! Writes an opened train into its working directory.

use std::{
    fs::{File, Permissions},
    io::Write,
    os::{
        fd::AsFd,
        unix::fs::{PermissionsExt, fchown},
    },
    path::{Path, PathBuf},
};

use stationmaster_system::files::Directory;
use stationmaster_train::names::FilePath;

use super::{PLACE, failed};
use crate::{ImageError, disk::space::DiskSpace, opt::train_dirs::TrainDir, tar::entry::FileAttrs};

/// Bytes buffered before a write to a file.
const BUFFER: usize = 256 * 1024;

/// Writes directories and files, parents first, by descriptor: the shared directory may belong to another user, who could create
/// a link at any path. Owners are kept if the process may change them.
#[derive(Debug)]
pub struct DirectoryWriter {
    root: Directory,
    space: DiskSpace,
    file: Option<File>,
    pending: Vec<u8>,
    /// The directories, whose modes are set last: a directory's mode may deny access to its own owner.
    directories: Vec<(PathBuf, FileAttrs)>,
    owners_kept: bool,
}

impl DirectoryWriter {
    pub(super) fn new(root: Directory, reserve: u64) -> Self {
        Self {
            root,
            space: DiskSpace::new(PLACE, reserve),
            file: None,
            pending: Vec::new(),
            directories: Vec::new(),
            owners_kept: true,
        }
    }

    /// Fails when fewer than `needed` bytes are free above the reserve.
    pub fn check_space(&mut self, needed: u64) -> Result<(), ImageError> {
        self.space.claim(needed, || rustix::fs::fstatvfs(self.root.as_fd()))
    }

    /// Creates a directory; `path` is `None` for the area's own.
    pub fn directory(&mut self, area: TrainDir, path: Option<&FilePath>, meta: FileAttrs) -> Result<(), ImageError> {
        let path = place(area, path);
        self.parent(&path)?.make(name(&path)).map_err(failed)?;
        self.directories.push((path, meta));
        Ok(())
    }

    /// Begins a file of about `size` bytes.
    pub fn begin(&mut self, area: TrainDir, path: &FilePath, meta: FileAttrs, size: u64) -> Result<(), ImageError> {
        self.check_space(size)?;
        let path = place(area, Some(path));
        let file = self.parent(&path)?.create_new(name(&path), 0o600).map_err(failed)?;
        self.give(&file, meta)?;
        // After the owner: a change of owner clears bits of the mode.
        file.set_permissions(Permissions::from_mode(meta.mode)).map_err(failed)?;
        self.file = Some(file);
        Ok(())
    }

    /// Writes a chunk of the open file.
    pub fn chunk(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        if self.pending.len() + bytes.len() > BUFFER {
            self.flush()?;
        }
        if bytes.len() >= BUFFER {
            self.write(bytes)
        } else {
            self.pending.extend_from_slice(bytes);
            Ok(())
        }
    }

    /// Ends the open file.
    pub fn end(&mut self) -> Result<(), ImageError> {
        self.flush()?;
        self.file = None;
        Ok(())
    }

    /// Sets the directories' owners and modes. Returns whether all owners could be kept.
    pub fn finish(mut self) -> Result<bool, ImageError> {
        for (path, meta) in std::mem::take(&mut self.directories).into_iter().rev() {
            let directory = self.root.enter(&path).map_err(failed)?;
            self.give(&directory, meta)?;
            let mode = rustix::fs::Mode::from_raw_mode(meta.mode);
            rustix::fs::fchmod(&directory, mode).map_err(failed)?;
        }
        Ok(self.owners_kept)
    }

    fn parent(&self, path: &Path) -> Result<Directory, ImageError> {
        self.root.enter(path.parent().unwrap_or(Path::new(""))).map_err(failed)
    }

    fn give(&mut self, what: &impl AsFd, meta: FileAttrs) -> Result<(), ImageError> {
        let owner = |id: u64| u32::try_from(id).map_err(|_| ImageError::Malformed("an owner's number"));
        match fchown(what, Some(owner(meta.uid)?), Some(owner(meta.gid)?)) {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => self.owners_kept = false,
            other => other.map_err(failed)?,
        }
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> Result<(), ImageError> {
        let Some(mut file) = self.file.as_ref() else { return Ok(()) };
        file.write_all(bytes).map_err(failed)
    }

    fn flush(&mut self) -> Result<(), ImageError> {
        self.write(&self.pending)?;
        self.pending.clear();
        Ok(())
    }
}

/// Returns a path below the run's directory.
fn place(area: TrainDir, path: Option<&FilePath>) -> PathBuf {
    let root = PathBuf::from(area.name());
    path.map_or(root.clone(), |path| root.join(path.as_str()))
}

fn name(path: &Path) -> &std::ffi::OsStr {
    path.file_name().unwrap_or_default()
}

impl Drop for DirectoryWriter {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.pending);
    }
}
