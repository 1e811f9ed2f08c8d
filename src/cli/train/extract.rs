//! Writes received files into one directory and nowhere else, atomically.
//!
//! Names are checked, and every directory is entered by its descriptor without following links: neither the author of the names
//! nor a process that changes the directory meanwhile can cause a write outside it. Until the last file has arrived, all files are in
//! a directory with a temporary name, which is removed if it remains incomplete.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::DirBuilderExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags, RenameFlags},
    io::Errno,
};
use serde_json::{Value, json};
use stationmaster_train::{
    digest::{FileHasher, Sha256Digest},
    names::FilePath,
};

use crate::cli::{
    error::{CliError, Exit},
    hints,
    output::{printable, table},
};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Mode of created files: accessible to their owner only.
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);
const PRIVATE_DIRECTORY: Mode = Mode::RWXU;

/// A file that was written.
pub(super) struct ExtractedFile {
    pub path: FilePath,
    pub size: u64,
    pub sha256: Sha256Digest,
}

/// Writes files into a directory.
pub(super) struct Extraction {
    /// The directory as it was named, for messages.
    directory: PathBuf,
    target: OwnedFd,
    /// The directory in `target` that contains the files until all have arrived.
    staging: OwnedFd,
    staging_path: PathBuf,
    /// The directory, if it was created here.
    made: Option<PathBuf>,
    replace: bool,
    open: Option<Open>,
    extracted: Vec<ExtractedFile>,
}

struct Open {
    path: FilePath,
    file: File,
    hasher: FileHasher,
    expected: u64,
    written: u64,
}

impl Extraction {
    /// Creates the directory, or uses an empty one; with `force` any, in which files of the same names are replaced.
    pub(super) fn create(directory: &Path, force: bool) -> Result<Self, CliError> {
        let trouble = |what: &str, error: io::Error| CliError::directory(what, directory, &error);
        let made = match fs::DirBuilder::new().mode(0o700).create(directory) {
            Ok(()) => Some(directory.to_owned()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
            Err(error) => return Err(trouble("make", error)),
        };
        let undo = |error| {
            made.as_ref().map(fs::remove_dir);
            error
        };
        let mut entries = fs::read_dir(directory).map_err(|error| undo(trouble("read", error)))?;
        if !force && entries.next().is_some() {
            return Err(CliError::new(Exit::State, format!("{} is not empty", directory.display()))
                .with_hint("name a new directory; --force writes into this one and replaces files of the same names"));
        }
        let name = format!(".stationmaster-partial-{}", uuid::Uuid::new_v4().simple());
        // The directory itself may be named by a link: its owner chose it.
        let open = || {
            let target = rustix::fs::open(directory, DIRECTORY.difference(OFlags::NOFOLLOW), Mode::empty())?;
            rustix::fs::mkdirat(&target, &name, PRIVATE_DIRECTORY)?;
            let staging = rustix::fs::openat(&target, &name, DIRECTORY, Mode::empty())?;
            Ok::<_, Errno>((target, staging))
        };
        let (target, staging) = open().map_err(|error| undo(trouble("write into", error.into())))?;
        let staging_path = directory.join(name);
        Ok(Self {
            directory: directory.to_owned(),
            target,
            staging,
            staging_path,
            made,
            replace: force,
            open: None,
            extracted: Vec::new(),
        })
    }

    /// Begins a file of `size` bytes.
    pub(super) fn begin(&mut self, path: FilePath, size: u64) -> Result<(), CliError> {
        let create = || {
            let (parent, name) = enter(self.staging.as_fd(), &path)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(&parent, name, flags, PRIVATE_FILE)
        };
        let file = File::from(create().map_err(|error| not_written(&self.directory, &path, error.into()))?);
        self.open = Some(Open { path, file, hasher: FileHasher::new(), expected: size, written: 0 });
        Ok(())
    }

    /// Writes the next bytes of the file.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        let open = self.open.as_mut().ok_or_else(out_of_order)?;
        open.written += bytes.len() as u64;
        if open.written > open.expected {
            return Err(out_of_order());
        }
        open.hasher.update(bytes);
        open.file.write_all(bytes).map_err(|error| not_written(&self.directory, &open.path, error))
    }

    /// Ends the file; `stated` is the sender's digest.
    pub(super) fn end(&mut self, stated: Option<&[u8]>) -> Result<(), CliError> {
        let Open { path, file, hasher, expected, written } = self.open.take().ok_or_else(out_of_order)?;
        let sha256 = hasher.finish();
        if written != expected || stated.is_some_and(|stated| stated != sha256.as_bytes()) {
            return Err(CliError::other(format!("{} differs from what was sent", printable(path.as_str()))));
        }
        // After a power loss no name may belong to incomplete contents.
        file.sync_data().map_err(|error| not_written(&self.directory, &path, error))?;
        self.extracted.push(ExtractedFile { path, size: written, sha256 });
        Ok(())
    }

    /// Returns the number of complete files.
    pub(super) fn count(&self) -> u64 {
        self.extracted.len() as u64
    }

    /// Moves all files to their final paths.
    pub(super) fn finish(mut self) -> Result<Vec<ExtractedFile>, CliError> {
        if self.open.is_some() {
            return Err(out_of_order());
        }
        let flags = if self.replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        for ExtractedFile { path, .. } in &self.extracted {
            let place = || {
                let (from, name) = enter(self.staging.as_fd(), path)?;
                let (to, _) = enter(self.target.as_fd(), path)?;
                match rustix::fs::renameat_with(&from, name, &to, name, flags) {
                    // A file system without these flags; the directory was empty before.
                    Err(Errno::INVAL) => rustix::fs::renameat(&from, name, &to, name),
                    other => other,
                }
            };
            place().map_err(|error| not_written(&self.directory, path, error.into()))?;
        }
        self.made = None;
        Ok(std::mem::take(&mut self.extracted))
    }
}

impl Drop for Extraction {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.staging_path);
        if let Some(made) = &self.made {
            let _ = fs::remove_dir(made);
        }
    }
}

/// Returns the directory of a path, which is created if it does not exist, and the last component. Follows no links.
fn enter<'p>(root: BorrowedFd<'_>, path: &'p FilePath) -> Result<(OwnedFd, &'p str), Errno> {
    let mut components: Vec<&str> = path.as_str().split('/').collect();
    let name = components.pop().unwrap_or_default();
    let mut at = rustix::fs::openat(root, ".", DIRECTORY, Mode::empty())?;
    for component in components {
        match rustix::fs::mkdirat(&at, component, PRIVATE_DIRECTORY) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        at = rustix::fs::openat(&at, component, DIRECTORY, Mode::empty())?;
    }
    Ok((at, name))
}

/// Returns the error of writing a file; the hint names the directory's disk, which may be full.
fn not_written(directory: &Path, path: &FilePath, error: io::Error) -> CliError {
    let shown = directory.join(printable(path.as_str()));
    let failed = CliError::file("write", &shown, &error);
    match hints::of_directory(directory, &error) {
        Some(hint) => failed.with_hint(hint),
        None => failed,
    }
}

/// Returns the error of a sender that violates the order of files and parts.
fn out_of_order() -> CliError {
    CliError::other("the files arrived in the wrong order, or with wrong sizes")
}

/// Returns the files for programs.
pub(super) fn value(files: &[ExtractedFile]) -> Value {
    let one = |file: &ExtractedFile| json!({ "path": file.path.as_str(), "size": file.size, "sha256": file.sha256.to_hex() });
    files.iter().map(one).collect()
}

/// Returns the files for people.
pub(super) fn people(files: &[ExtractedFile]) -> String {
    if files.is_empty() {
        return "No file was written.\n".to_owned();
    }
    let row = |file: &ExtractedFile| vec![printable(file.path.as_str()), file.size.to_string(), file.sha256.to_hex()];
    table(&["PATH", "SIZE", "SHA256"], files.iter().map(row).collect())
}

#[cfg(test)]
mod tests;
