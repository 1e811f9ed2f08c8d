//! A directory by its descriptor.
//!
//! Who owns a directory, or one above it, can put a link in the place of any name at any moment. So what is written goes through
//! the descriptor, one name at a time and following no link, into a file without a name or with one that cannot be guessed; only
//! when it is whole does it take the name that it is for.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, Permissions},
    io::{self, Write},
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
    fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, linkat, mkdirat, open, openat, statat, unlinkat},
    io::Errno,
    process::geteuid,
};

use super::{input::Unfit, new_file::NewFile};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const NO_LINK: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);

/// An open directory.
#[derive(Debug)]
pub struct Directory {
    descriptor: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens a directory by its path. Links in that are followed: it is configured, or given to a command.
    ///
    /// # Errors
    /// When there is none, or it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let shown = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        Ok(Self { descriptor: open(shown, DIRECTORY, Mode::empty())?, path: path.to_owned() })
    }

    /// The directory that a file is in, and the file's name.
    ///
    /// # Errors
    /// When there is none, or the path has no last name.
    pub fn of_file(file: &Path) -> io::Result<(Self, OsString)> {
        let name = file.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it is no file's path"))?;
        Ok((Self::open(file.parent().unwrap_or(Path::new("")))?, name.to_owned()))
    }

    /// The same directory by another descriptor.
    pub(super) fn again(&self) -> io::Result<Self> {
        Ok(Self { descriptor: self.descriptor.try_clone()?, path: self.path.clone() })
    }

    /// Its path when it was opened, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path that leads to this directory as long as it is open, whatever stands at its own path.
    #[must_use]
    pub fn by_descriptor(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.descriptor.as_raw_fd()).into()
    }

    /// Opens the directory `path` below this one, link by no link.
    ///
    /// # Errors
    /// When a part of it is missing, a link, or no directory.
    pub fn enter(&self, path: impl AsRef<Path>) -> io::Result<Self> {
        let mut at = openat(&self.descriptor, ".", DIRECTORY, Mode::empty())?;
        for part in path.as_ref().iter() {
            at = openat(&at, plain(part)?, DIRECTORY | NO_LINK, Mode::empty())?;
        }
        Ok(Self { descriptor: at, path: self.path.join(path) })
    }

    /// Makes a directory in this one, for this process's user only.
    ///
    /// # Errors
    /// When there is something by that name, it cannot be made, or another was put in its place.
    pub fn make(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let name = plain(name.as_ref())?;
        mkdirat(&self.descriptor, name, Mode::RWXU)?;
        let made = self.enter(name)?;
        // mkdirat gives no descriptor: in between, the owner of this directory could have moved another one here.
        if made.stat()?.st_uid != geteuid().as_raw() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "another user's directory was put in its place"));
        }
        Ok(made)
    }

    /// Opens a regular file at `path` below, for reading. No link is followed, and a FIFO is not waited for.
    ///
    /// # Errors
    /// When there is none, or it is something else.
    pub fn open_file(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let (parent, name) = self.parent_of(path.as_ref())?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | NO_LINK;
        let file = File::from(openat(parent.descriptor.as_fd(), name, flags, Mode::empty())?);
        regular(file)
    }

    /// Makes a file with exactly this mode, where nothing has its name.
    ///
    /// # Errors
    /// When something has its name, or it cannot be made.
    pub fn create_new(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | NO_LINK;
        // With what the umask leaves of it, and then as it is meant.
        let file = File::from(openat(&self.descriptor, plain(name.as_ref())?, flags, Mode::from_raw_mode(mode & 0o700))?);
        file.set_permissions(Permissions::from_mode(mode))?;
        Ok(file)
    }

    /// Opens a file for reading and writing that this process may have made before, and makes it, for its owner only, where there is
    /// none. The mode of one that was open to others is mended.
    ///
    /// # Errors
    /// When something else has its name: a link, or another user's file.
    pub fn open_own(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NONBLOCK | OFlags::NOCTTY | NO_LINK;
        let file = File::from(openat(&self.descriptor, plain(name.as_ref())?, flags, Mode::RUSR | Mode::WUSR)?);
        let file = regular(file)?;
        self.give_to_owner(&file, None)?;
        close_to_others(&file)?;
        Ok(file)
    }

    /// A file without a name (`O_TMPFILE`): whatever happens, nothing of it stays until [`Directory::link`].
    ///
    /// # Errors
    /// When the file system knows no such files, or has no room.
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

    /// Gives a file without a name this one, which nothing may have.
    ///
    /// # Errors
    /// `AlreadyExists`, or what stands in the way.
    pub fn link(&self, file: &File, name: impl AsRef<OsStr>) -> io::Result<()> {
        let own = format!("/proc/self/fd/{}", file.as_raw_fd());
        Ok(linkat(CWD, own, &self.descriptor, plain(name.as_ref())?, AtFlags::SYMLINK_FOLLOW)?)
    }

    /// Begins a file that will replace what has the name, in one moment and whole. It belongs to the owner of the one before; where
    /// there was none and root makes it, to the directory's: what root's commands write must be the service's.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn begin(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<NewFile> {
        let new = NewFile::begin(self, name.as_ref(), 0o600)?;
        let before = self.stat_of(name)?.filter(|facts| FileType::from_raw_mode(facts.st_mode) == FileType::RegularFile);
        self.give_to_owner(new.file(), before.as_ref())?;
        // After the owner: giving a file away takes bits of its mode.
        new.file().set_permissions(Permissions::from_mode(mode))?;
        Ok(new)
    }

    /// Writes a file whole, in the place of what has its name; see [`Directory::begin`].
    ///
    /// # Errors
    /// When it cannot be written; what was there stays.
    pub fn replace(&self, name: impl AsRef<OsStr>, mode: u32, bytes: &[u8]) -> io::Result<()> {
        let mut new = self.begin(name, mode)?;
        new.write_all(bytes)?;
        new.settle()?.put()
    }

    /// What has a name here, if anything; of a link, the link.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn stat_of(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Stat>> {
        match statat(&self.descriptor, plain(name.as_ref())?, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(facts) => Ok(Some(facts)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether anything is at `path` below; no link is followed on the way there.
    ///
    /// # Errors
    /// When a part of the way is a link or no directory, or it cannot be looked at.
    pub fn has(&self, path: impl AsRef<Path>) -> io::Result<bool> {
        match self.parent_of(path.as_ref()) {
            Ok((parent, name)) => Ok(parent.stat_of(name)?.is_some()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The directory's own facts.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn stat(&self) -> io::Result<Stat> {
        Ok(rustix::fs::fstat(&self.descriptor)?)
    }

    /// Removes a file at `path` below, or the link that stands there. Nothing happens when it is gone.
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

    /// Removes what [`NewFile::put`] left of a file of that name when the process was killed within it. Others who write the same name
    /// must be kept out.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn clear(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        let prefix = prefix(name.as_ref());
        for entry in fs::read_dir(self.by_descriptor())? {
            let found = entry?.file_name();
            if found.as_bytes().starts_with(prefix.as_bytes()) {
                self.remove(&found)?;
            }
        }
        Ok(())
    }

    /// Makes what was linked, renamed or removed here last.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.descriptor)?)
    }

    fn parent_of<'p>(&self, path: &'p Path) -> io::Result<(Self, &'p OsStr)> {
        let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?;
        Ok((self.enter(path.parent().unwrap_or(Path::new("")))?, plain(name)?))
    }

    /// The owner and group of the file before, or of this directory. Only root can; for others it is theirs already.
    fn give_to_owner(&self, file: &File, before: Option<&Stat>) -> io::Result<()> {
        if !geteuid().is_root() {
            // The group may be one of this user's; where it is not, the file has the user's own.
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

/// A name by which a file may be asked for: one part of a path, and none that leads elsewhere.
pub(super) fn plain(name: &OsStr) -> io::Result<&OsStr> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.contains(&b'/') || [&b"."[..], b".."].contains(&bytes) {
        return Err(io::ErrorKind::InvalidFilename.into());
    }
    Ok(name)
}

fn prefix(name: &OsStr) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".stationmaster-");
    prefix
}

pub(super) fn unguessable(name: &OsStr) -> OsString {
    let mut aside = prefix(name);
    aside.push(uuid::Uuid::new_v4().simple().to_string());
    aside
}

fn regular(file: File) -> io::Result<File> {
    let kind = file.metadata()?.file_type();
    if kind.is_file() { Ok(file) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")) }
}

/// 0600, whatever it was.
fn close_to_others(file: &File) -> io::Result<()> {
    let facts = file.metadata()?;
    if facts.permissions().mode() & 0o7177 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(())
}

/// Makes a directory and those above it that are missing, for their owner only. What root makes belongs to the owner of the
/// directory that it is made in: the service must reach what an administrator's command made.
///
/// # Errors
/// When one cannot be made.
pub fn make_directory(path: &Path) -> io::Result<()> {
    let mut missing: Vec<&Path> = Vec::new();
    for ancestor in path.ancestors().filter(|ancestor| !ancestor.as_os_str().is_empty()) {
        match fs::metadata(ancestor) {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(ancestor),
            Err(error) => return Err(error),
        }
    }
    for directory in missing.into_iter().rev() {
        let (parent, name) = Directory::of_file(directory)?;
        match parent.make(&name) {
            Ok(made) if geteuid().is_root() => {
                let owner = parent.stat()?;
                fchown(&made.descriptor, Some(owner.st_uid), Some(owner.st_gid))?;
            }
            Ok(_) => {}
            // Another process made it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    let found = fs::metadata(path)?;
    if found.is_dir() { Ok(()) } else { Err(Errno::NOTDIR.into()) }
}

/// Makes a state file, empty and for its owner only, where there is none, and closes one that is there to others: what opens it next
/// would make it with what the umask leaves.
///
/// # Errors
/// When it cannot be made, or is a link.
pub fn make_private(file: &Path) -> io::Result<()> {
    let (directory, name) = Directory::of_file(file)?;
    match directory.create_new(&name, 0o600) {
        Ok(new) => return directory.give_to_owner(&new, None),
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Err(_) => {}
    }
    // Only its name: to open and close a database drops the locks that this process holds on it.
    let named = openat(&directory.descriptor, &name, OFlags::PATH | NO_LINK, Mode::empty())?;
    let facts = rustix::fs::fstat(&named)?;
    if FileType::from_raw_mode(facts.st_mode) != FileType::RegularFile {
        let what = if FileType::from_raw_mode(facts.st_mode) == FileType::Symlink { "a symbolic link" } else { "something else" };
        return Err(Unfit::Kind(what).into());
    }
    if facts.st_mode & 0o7177 != 0 {
        fs::set_permissions(format!("/proc/self/fd/{}", named.as_raw_fd()), Permissions::from_mode(0o600))?;
    }
    Ok(())
}
