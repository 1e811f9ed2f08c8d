//! Creates directories and files of the state, for their owner only.

use std::{
    ffi::OsStr,
    fs::{self, File, Permissions},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{PermissionsExt, fchown},
    },
    path::Path,
};

use rustix::{
    fs::{FileType, Mode, OFlags, Stat, fstat, openat},
    io::Errno,
    process::geteuid,
};

use super::{Directory, directory::NO_LINK, input::InputError};

/// Creates a directory and its missing parents, for their owner only. A directory that root creates gets the owner of its parent,
/// because the service must be able to use what an administrator's command creates.
///
/// # Errors
/// When one cannot be created.
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
                fchown(&made, Some(owner.st_uid), Some(owner.st_gid))?;
            }
            Ok(_) => {}
            // Another process created it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    let found = fs::metadata(path)?;
    if found.is_dir() { Ok(()) } else { Err(Errno::NOTDIR.into()) }
}

/// Creates an empty state file for its owner only when it does not exist, and closes an existing one to others: a library that
/// opens it next would create it with the umask's mode.
///
/// # Errors
/// When it cannot be created, or is a link.
pub fn make_private(file: &Path) -> io::Result<()> {
    let (directory, name) = Directory::of_file(file)?;
    match directory.create_new(&name, 0o600) {
        Ok(new) => return directory.give_to_owner(&new, None),
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Err(_) => {}
    }
    let (named, facts) = own_state_file(&directory, &name)?;
    if facts.st_mode & 0o7177 != 0 {
        fs::set_permissions(format!("/proc/self/fd/{}", named.as_raw_fd()), Permissions::from_mode(0o600))?;
    }
    Ok(())
}

/// Checks an existing state file before a library opens it by its name: it is a regular file, and neither a link nor another user's.
/// Changes nothing.
///
/// # Errors
/// When it is anything else, or does not exist.
pub fn check_private(file: &Path) -> io::Result<()> {
    let (directory, name) = Directory::of_file(file)?;
    own_state_file(&directory, &name).map(drop)
}

/// Returns a state file by its name only, because opening and closing a database drops the locks that this process holds on it.
fn own_state_file(directory: &Directory, name: &OsStr) -> io::Result<(OwnedFd, Stat)> {
    let named = openat(directory, name, OFlags::PATH | NO_LINK, Mode::empty())?;
    let facts = fstat(&named)?;
    if FileType::from_raw_mode(facts.st_mode) != FileType::RegularFile {
        let what = if FileType::from_raw_mode(facts.st_mode) == FileType::Symlink { "a symbolic link" } else { "something else" };
        return Err(InputError::Kind(what).into());
    }
    // Root's commands work on the state of the directory's owner.
    check_owner(&facts, &[geteuid().as_raw(), 0, directory.stat()?.st_uid])?;
    Ok((named, facts))
}

/// Opens a regular file for reading and for appending, which an administrator names and other programs may read. With `create` it is
/// created, for its owner only, when it does not exist; an existing one keeps its mode.
///
/// # Errors
/// When it is a link, not a regular file (a FIFO is not waited for), belongs to neither this process's user nor root, or others can
/// write it.
pub fn open_to_append(file: &Path, create: bool) -> io::Result<File> {
    let (directory, name) = Directory::of_file(file)?;
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::NONBLOCK | OFlags::NOCTTY | NO_LINK;
    let open = || openat(&directory, &name, flags, Mode::empty()).map_err(io::Error::from);
    let opened = match open() {
        Err(error) if create && error.kind() == io::ErrorKind::NotFound => {
            directory.create_new(&name, 0o600)?;
            open()
        }
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => Err(InputError::Kind("a symbolic link").into()),
        other => other,
    };
    let file = File::from(opened?);
    let facts = fstat(&file)?;
    if FileType::from_raw_mode(facts.st_mode) != FileType::RegularFile {
        return Err(InputError::Kind("something else").into());
    }
    check_owner(&facts, &[geteuid().as_raw(), 0])?;
    // The group of a file of root's is how root lets the service append to it.
    let writers = if facts.st_uid == 0 { 0o002 } else { 0o022 };
    if facts.st_mode & writers != 0 {
        let text = format!("others can write it (mode {:04o}): chmod go-w it", facts.st_mode & 0o7777);
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(file)
}

/// Checks that a file belongs to one of these users.
fn check_owner(facts: &Stat, users: &[u32]) -> io::Result<()> {
    if users.contains(&facts.st_uid) {
        return Ok(());
    }
    let text =
        format!("it belongs to uid {}, and this process is uid {}: move it away, or chown it", facts.st_uid, geteuid().as_raw());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}
