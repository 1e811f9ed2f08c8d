//! Creates directories and files of the state, for their owner only.

use std::{
    fs::{self, Permissions},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{PermissionsExt, fchown},
    },
    path::Path,
};

use rustix::{
    fs::{FileType, Mode, OFlags, openat},
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
    // By its name only: opening and closing a database drops the locks that this process holds on it.
    let named = openat(&directory, &name, OFlags::PATH | NO_LINK, Mode::empty())?;
    let facts = rustix::fs::fstat(&named)?;
    if FileType::from_raw_mode(facts.st_mode) != FileType::RegularFile {
        let what = if FileType::from_raw_mode(facts.st_mode) == FileType::Symlink { "a symbolic link" } else { "something else" };
        return Err(InputError::Kind(what).into());
    }
    if facts.st_mode & 0o7177 != 0 {
        fs::set_permissions(format!("/proc/self/fd/{}", named.as_raw_fd()), Permissions::from_mode(0o600))?;
    }
    Ok(())
}
