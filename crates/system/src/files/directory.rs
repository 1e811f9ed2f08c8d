//! A directory by its descriptor.
//!
//! The owner of a directory, or of one above it, can replace any name by a link at any moment. So writing goes through the
//! descriptor, one path component at a time and following no link, into a file without a name or with an unpredictable one; only
//! when the file is complete does it get its final name.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, Permissions},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::{MetadataExt, PermissionsExt, fchown},
        },
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, Stat, linkat, mkdirat, open, openat, statat, unlinkat},
    io::Errno,
    process::geteuid,
};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
pub(super) const NO_LINK: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);

/// An open directory.
#[derive(Debug)]
pub struct Directory {
    descriptor: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens a directory by its path. Links in the path are followed: it comes from the configuration or the command line.
    ///
    /// # Errors
    /// When it does not exist, or cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let shown = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        Ok(Self { descriptor: open(shown, DIRECTORY, Mode::empty())?, path: path.to_owned() })
    }

    /// Returns the directory that contains a file, and the file's name.
    ///
    /// # Errors
    /// When it does not exist, or the path has no last component.
    pub fn of_file(file: &Path) -> io::Result<(Self, OsString)> {
        let name = file.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it is not the path of a file"))?;
        Ok((Self::open(file.parent().unwrap_or(Path::new("")))?, name.to_owned()))
    }

    /// Returns the same directory with another descriptor.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { descriptor: self.descriptor.try_clone()?, path: self.path.clone() })
    }

    /// Returns its path when it was opened, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a path that leads to this directory as long as it is open, even when its own path was replaced.
    #[must_use]
    pub fn by_descriptor(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.descriptor.as_raw_fd()).into()
    }

    /// Opens the directory `path` below this one, without following links.
    ///
    /// # Errors
    /// When a component is missing, a link, or not a directory.
    pub fn enter(&self, path: impl AsRef<Path>) -> io::Result<Self> {
        let mut at = openat(&self.descriptor, ".", DIRECTORY, Mode::empty())?;
        for part in path.as_ref().iter() {
            at = openat(&at, check_component(part)?, DIRECTORY | NO_LINK, Mode::empty())?;
        }
        Ok(Self { descriptor: at, path: self.path.join(path) })
    }

    /// Creates a directory in this one, for this process's user only.
    ///
    /// # Errors
    /// When the name exists, it cannot be created, or another directory was put in its place.
    pub fn make(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let name = check_component(name.as_ref())?;
        mkdirat(&self.descriptor, name, Mode::RWXU)?;
        let made = self.enter(name)?;
        // mkdirat returns no descriptor: meanwhile the owner of this directory could have moved another one here.
        if made.stat()?.st_uid != geteuid().as_raw() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "another user's directory was put in its place"));
        }
        Ok(made)
    }

    /// Opens a regular file at `path` below, for reading. No link is followed, and a FIFO is not waited for.
    ///
    /// # Errors
    /// When it does not exist, or is not a regular file.
    pub fn open_file(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let (parent, name) = self.parent_of(path.as_ref())?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | NO_LINK;
        let file = File::from(openat(parent.descriptor.as_fd(), name, flags, Mode::empty())?);
        regular(file)
    }

    /// Creates a file with exactly this mode, when the name does not exist.
    ///
    /// # Errors
    /// When the name exists, or it cannot be created.
    pub fn create_new(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | NO_LINK;
        // Created with the mode that the umask leaves, which is corrected afterwards.
        let file =
            File::from(openat(&self.descriptor, check_component(name.as_ref())?, flags, Mode::from_raw_mode(mode & 0o700))?);
        file.set_permissions(Permissions::from_mode(mode))?;
        Ok(file)
    }

    /// Opens a file for reading and writing that this process may have created before; creates it, for its owner only, when it does
    /// not exist. A file that was open to others is closed to them.
    ///
    /// # Errors
    /// When the name is a link or another user's file.
    pub fn open_own(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NONBLOCK | OFlags::NOCTTY | NO_LINK;
        let file = File::from(openat(&self.descriptor, check_component(name.as_ref())?, flags, Mode::RUSR | Mode::WUSR)?);
        let file = regular(file)?;
        self.give_to_owner(&file, None)?;
        close_to_others(&file)?;
        Ok(file)
    }

    /// Creates a file without a name (`O_TMPFILE`): nothing of it stays before [`Directory::link`], whatever happens.
    ///
    /// # Errors
    /// When the file system does not support such files, or is full.
    pub fn unnamed(&self, mode: u32) -> io::Result<File> {
        let file = File::from(openat(
            &self.descriptor,
            ".",
            OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::from_raw_mode(mode & 0o600),
        )?);
        file.set_permissions(Permissions::from_mode(mode))?;
        Ok(file)
    }

    /// Gives a file without a name this name, which must not exist.
    ///
    /// # Errors
    /// `AlreadyExists`, or the error of the file system.
    pub fn link(&self, file: &File, name: impl AsRef<OsStr>) -> io::Result<()> {
        let own = format!("/proc/self/fd/{}", file.as_raw_fd());
        Ok(linkat(CWD, own, &self.descriptor, check_component(name.as_ref())?, AtFlags::SYMLINK_FOLLOW)?)
    }

    /// Returns the metadata of a name, if it exists; of a link, those of the link.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn stat_of(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Stat>> {
        match statat(&self.descriptor, check_component(name.as_ref())?, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(facts) => Ok(Some(facts)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns whether `path` exists below; links in the path are not followed.
    ///
    /// # Errors
    /// When a component is a link or not a directory, or its metadata cannot be read.
    pub fn has(&self, path: impl AsRef<Path>) -> io::Result<bool> {
        match self.parent_of(path.as_ref()) {
            Ok((parent, name)) => Ok(parent.stat_of(name)?.is_some()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns the directory's own metadata.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn stat(&self) -> io::Result<Stat> {
        Ok(rustix::fs::fstat(&self.descriptor)?)
    }

    /// Removes a file at `path` below, or the link of that name. Does nothing when it does not exist.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let (parent, name) = match self.parent_of(path.as_ref()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        match unlinkat(&parent.descriptor, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes what [`NewFile::publish`](super::NewFile::publish) left of a file of that name when the process was killed during the call. The caller must exclude
    /// concurrent writers of the same name.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn clear(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        let prefix = temporary_prefix(name.as_ref());
        for entry in fs::read_dir(self.by_descriptor())? {
            let found = entry?.file_name();
            if found.as_bytes().starts_with(prefix.as_bytes()) {
                self.remove(&found)?;
            }
        }
        Ok(())
    }

    /// Makes the latest links, renames and removals in this directory durable.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.descriptor)?)
    }

    fn parent_of<'p>(&self, path: &'p Path) -> io::Result<(Self, &'p OsStr)> {
        let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?;
        Ok((self.enter(path.parent().unwrap_or(Path::new("")))?, check_component(name)?))
    }

    /// Sets the owner and group of the previous file, or of this directory. Only root can; for other users they are right already.
    pub(super) fn give_to_owner(&self, file: &File, before: Option<&Stat>) -> io::Result<()> {
        if !geteuid().is_root() {
            // This user may be a member of the group; if not, the file keeps the user's own group.
            let _ = before.map(|before| fchown(file, None, Some(before.st_gid)));
            return Ok(());
        }
        let (uid, gid) = match before {
            Some(before) => (before.st_uid, before.st_gid),
            None => self.stat().map(|own| (own.st_uid, own.st_gid))?,
        };
        let facts = file.metadata()?;
        if (facts.uid(), facts.gid()) == (uid, gid) { Ok(()) } else { fchown(file, Some(uid), Some(gid)) }
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Checks that a name is a single path component that does not lead elsewhere.
pub(super) fn check_component(name: &OsStr) -> io::Result<&OsStr> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.contains(&b'/') || [&b"."[..], b".."].contains(&bytes) {
        return Err(io::ErrorKind::InvalidFilename.into());
    }
    Ok(name)
}

fn temporary_prefix(name: &OsStr) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".stationmaster-");
    prefix
}

pub(super) fn temporary_name(name: &OsStr) -> OsString {
    let mut temporary = temporary_prefix(name);
    temporary.push(uuid::Uuid::new_v4().simple().to_string());
    temporary
}

fn regular(file: File) -> io::Result<File> {
    let kind = file.metadata()?.file_type();
    if kind.is_file() { Ok(file) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")) }
}

/// Sets the mode to 0600.
fn close_to_others(file: &File) -> io::Result<()> {
    let facts = file.metadata()?;
    if facts.permissions().mode() & 0o7177 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(())
}
