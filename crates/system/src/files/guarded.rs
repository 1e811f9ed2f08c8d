//! Reads files that decide about trust and access, after checking that no other user can change them: access, trust and first-seen
//! file, TLS certificate, key, client authorities and revocation lists, PIN file.
//!
//! Such a file is regular. The file and every directory on the path to it, including targets of links, belong to root or to the
//! process's user, and neither group nor others may write them. A directory of root's with the sticky bit may be writable by all
//! (`/tmp`, a Kubernetes volume): other users cannot replace files of root or of the process's user there. A secret may not be
//! readable by others; if it belongs to root, its group may read it (PostgreSQL's rule).

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStringExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, open, openat, readlinkat, statat},
    process::geteuid,
};

use super::{denied::explained, input::bounded};

/// Maximum number of links on the path to a file; the kernel's own limit.
const LINKS: usize = 40;
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The reader of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// The service, which acts by the file's contents.
    Service,
    /// A command to which a user names the file. It may belong to one other user (root reads the service's, an auditor a colleague's)
    /// and be writable by its group; the service is stricter.
    Command,
}

/// Contents of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    /// Nothing secret.
    Plain,
    /// A private key or a PIN.
    Secret,
}

/// Why a file is refused.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// It does not exist.
    #[error("there is no such file")]
    Missing,
    /// It breaks the rule: the path, the violation, and the remedy.
    #[error("{0}")]
    Rule(String),
    /// It is not a regular file: what was found there.
    #[error("{0}")]
    NotAFile(String),
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl GuardError {
    /// Returns the system's kind of error.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Missing => io::ErrorKind::NotFound,
            Self::Rule(_) => io::ErrorKind::PermissionDenied,
            Self::NotAFile(_) => io::ErrorKind::IsADirectory,
            Self::Io(error) => error.kind(),
        }
    }
}

/// Reads a file of at most `limit` bytes that meets the rule.
///
/// # Errors
/// See [`GuardError`].
pub fn read(file: &Path, by: Reader, holds: Secrecy, limit: u64) -> Result<Vec<u8>, GuardError> {
    let open = open_guarded(file, by, holds)?;
    Ok(bounded(open, limit).map_err(|error| explained(file, error))?)
}

/// Opens a file that meets the rule. Never blocks: a FIFO is refused.
///
/// # Errors
/// See [`GuardError`].
pub fn open_guarded(file: &Path, by: Reader, holds: Secrecy) -> Result<File, GuardError> {
    let io_error = |errno: rustix::io::Errno| match errno {
        rustix::io::Errno::NOENT => GuardError::Missing,
        errno => GuardError::Io(explained(file, errno.into())),
    };
    let mut check = PathCheck { by, own: geteuid().as_raw(), other: None };
    let absolute = std::path::absolute(file)?;
    let root = open("/", DIRECTORY, Mode::empty()).map_err(io_error)?;
    check.directory(&fstat(&root).map_err(io_error)?, Path::new("/"))?;
    let mut directories: Vec<(OwnedFd, PathBuf)> = vec![(root, PathBuf::from("/"))];
    let mut left: VecDeque<OsString> = absolute.iter().map(OsStr::to_owned).collect();
    let mut links = 0;
    while let Some(part) = left.pop_front() {
        match part.as_encoded_bytes() {
            b"/" => directories.truncate(1),
            b"." => {}
            b".." => directories.truncate(directories.len().saturating_sub(1).max(1)),
            _ => {
                let Some((at, path)) = directories.last() else { return Err(GuardError::Missing) };
                let here = path.join(&part);
                let facts = statat(at, &part, AtFlags::SYMLINK_NOFOLLOW).map_err(io_error)?;
                check.owner(&facts, &here)?;
                match FileType::from_raw_mode(facts.st_mode) {
                    FileType::Symlink => {
                        links += 1;
                        if links > LINKS {
                            return Err(GuardError::Rule(format!("{} contains too many links", file.display())));
                        }
                        let to = readlinkat(at, &part, Vec::new()).map_err(io_error)?;
                        let to = PathBuf::from(OsString::from_vec(to.into_bytes()));
                        to.iter().rev().for_each(|part| left.push_front(part.to_owned()));
                    }
                    FileType::Directory if left.is_empty() => {
                        return Err(GuardError::NotAFile(format!("{} is a directory: name the file in it", here.display())));
                    }
                    FileType::Directory => {
                        let next = openat(at, &part, DIRECTORY, Mode::empty()).map_err(io_error)?;
                        check.directory(&fstat(&next).map_err(io_error)?, &here)?;
                        directories.push((next, here));
                    }
                    FileType::RegularFile if left.is_empty() => {
                        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                        let open = openat(at, &part, flags, Mode::empty()).map_err(io_error)?;
                        let facts = fstat(&open).map_err(io_error)?;
                        check.file(&facts, &here, holds)?;
                        return Ok(File::from(open));
                    }
                    FileType::RegularFile => {
                        return Err(GuardError::NotAFile(format!("{} is a file, not a directory", here.display())));
                    }
                    other => {
                        return Err(GuardError::NotAFile(format!("{} is {}, not a regular file", here.display(), named(other))));
                    }
                }
            }
        }
    }
    Err(GuardError::NotAFile(format!("{} is a directory: name the file in it", file.display())))
}

fn named(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "something else",
    }
}

struct PathCheck {
    by: Reader,
    own: u32,
    /// The one other user whose files a command accepts.
    other: Option<u32>,
}

impl PathCheck {
    fn owner(&mut self, facts: &Stat, path: &Path) -> Result<(), GuardError> {
        let owner = facts.st_uid;
        let known = owner == 0 || owner == self.own || (self.by == Reader::Command && *self.other.get_or_insert(owner) == owner);
        if known {
            return Ok(());
        }
        let path = path.display();
        Err(GuardError::Rule(format!(
            "{path} belongs to uid {owner}, neither to root nor to this process's user (uid {}): chown root {path}",
            self.own
        )))
    }

    fn directory(&mut self, facts: &Stat, path: &Path) -> Result<(), GuardError> {
        self.owner(facts, path)?;
        let is_sticky = facts.st_uid == 0 && facts.st_mode & 0o1000 != 0;
        if is_sticky { Ok(()) } else { self.writers(facts, path) }
    }

    fn file(&mut self, facts: &Stat, path: &Path, holds: Secrecy) -> Result<(), GuardError> {
        if FileType::from_raw_mode(facts.st_mode) != FileType::RegularFile {
            return Err(GuardError::NotAFile(format!("{} is not a regular file", path.display())));
        }
        self.owner(facts, path)?;
        self.writers(facts, path)?;
        let readers = if facts.st_uid == 0 { 0o007 } else { 0o077 };
        if holds == Secrecy::Secret && facts.st_mode & readers != 0 {
            let mode = facts.st_mode & 0o7777;
            let path = path.display();
            return Err(GuardError::Rule(format!(
                "{path} contains a secret and is readable by others (mode {mode:04o}): chmod 600 {path}"
            )));
        }
        Ok(())
    }

    fn writers(&self, facts: &Stat, path: &Path) -> Result<(), GuardError> {
        let (mode, path) = (facts.st_mode & 0o7777, path.display());
        if mode & 0o002 != 0 {
            return Err(GuardError::Rule(format!("{path} is writable by all users (mode {mode:04o}): chmod o-w {path}")));
        }
        if mode & 0o020 != 0 && self.by == Reader::Service {
            return Err(GuardError::Rule(format!("{path} is writable by its group (mode {mode:04o}): chmod g-w {path}")));
        }
        Ok(())
    }
}
