//! Unix socket file: created under a temporary name, given its mode and group, then renamed, so that no client connects before
//! the mode is set. A stale file is replaced only if no process listens on it. The file is removed at the end.

use std::{
    fs, io,
    os::{
        fd::AsRawFd,
        unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, chownat, fstat, open},
    process::geteuid,
};
use stationmaster_system::files::explained;
use tokio::net::UnixListener;

use super::{ServerError, lock::Lock};

/// The kernel's limit for a socket's path, less the suffix of the temporary name.
const LONGEST: usize = 107 - ".new".len();

/// The socket file, removed when dropped.
#[derive(Debug)]
pub struct UnixSocket {
    path: PathBuf,
    inode: u64,
    _lock: Lock,
}

impl UnixSocket {
    /// Binds `path`. Must be called inside a runtime.
    ///
    /// # Errors
    /// When a process listens there, or the file cannot be created.
    pub fn bind(path: &Path, mode: u32, group: Option<&str>) -> Result<(Self, UnixListener), ServerError> {
        let shown = path.display();
        let trouble = |error| ServerError::io(format!("cannot listen on {shown}"), error);
        can_be_at(path).map_err(trouble)?;
        let gid = group.map(group_id).transpose().map_err(trouble)?;
        let lock = Lock::acquire(&with_ending(path, ".lock"), &format!("the socket {shown}"))?;
        remove_stale(path)?;
        // A socket is not written like a file (`NewFile`): binding gives it its name.
        let other = with_ending(path, ".new");
        match fs::remove_file(&other) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(trouble(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&other).map_err(trouble)?;
        open_to(&other, mode, gid).map_err(trouble)?;
        fs::rename(&other, path).map_err(trouble)?;
        let inode = fs::symlink_metadata(path).map_err(trouble)?.ino();
        Ok((Self { path: path.into(), inode, _lock: lock }, listener))
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // Removes only this socket: another process may have replaced it.
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Checks whether a socket can be created at a path: the path is short enough, and the name is free or a socket's.
///
/// # Errors
/// The reason why it cannot.
pub fn can_be_at(path: &Path) -> io::Result<()> {
    if path.as_os_str().len() > LONGEST {
        let text = format!("a socket's path has at most {LONGEST} bytes: choose a shorter directory");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => Ok(()),
        Ok(found) => {
            let what = if found.is_dir() { "a directory" } else { "something else" };
            let text = format!("it is {what}, not a socket: choose another path, or move it");
            Err(io::Error::new(io::ErrorKind::AlreadyExists, text))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(explained(path, error)),
    }
}

/// Sets the socket's mode and group through its descriptor: by name, a link in its place would be followed.
fn open_to(socket: &Path, mode: u32, group: Option<u32>) -> io::Result<()> {
    let socket = open(socket, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let facts = fstat(&socket)?;
    if FileType::from_raw_mode(facts.st_mode) != FileType::Socket || facts.st_uid != geteuid().as_raw() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the file was replaced"));
    }
    if let Some(group) = group {
        chownat(&socket, "", None, Some(Gid::from_raw(group)), AtFlags::EMPTY_PATH)?;
    }
    fs::set_permissions(format!("/proc/self/fd/{}", socket.as_raw_fd()), fs::Permissions::from_mode(mode))
}

fn remove_stale(path: &Path) -> Result<(), ServerError> {
    let trouble = |error| ServerError::io(format!("cannot replace {}", path.display()), error);
    // Checked again, because taking the lock may have waited.
    can_be_at(path).map_err(trouble)?;
    if !path.exists() {
        return Ok(());
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(ServerError::Held { what: format!("the socket {}", path.display()), holder: None }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(trouble),
        Err(error) => Err(trouble(error)),
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Returns a group's number: as given, or by its name from the system's databases (NSS: files, LDAP, systemd).
///
/// # Errors
/// When no group has the name.
pub fn group_id(name: &str) -> io::Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    match nix::unistd::Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err(io::Error::new(io::ErrorKind::NotFound, format!("no group {name:?} (`getent group {name}` finds none)"))),
        Err(error) => Err(io::Error::other(format!("the group {name:?} cannot be looked up: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_has_its_mode_and_goes_with_its_holder() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api.sock");
        let (socket, listener) = UnixSocket::bind(&path, 0o660, None).unwrap();
        assert_eq!(fs::symlink_metadata(&path).unwrap().mode() & 0o777, 0o660);
        assert!(matches!(UnixSocket::bind(&path, 0o660, None), Err(ServerError::Held { .. })));
        drop((socket, listener));
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_anything_else_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        drop(UnixSocket::bind(&path, 0o600, None).unwrap());

        let heard = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(matches!(UnixSocket::bind(&path, 0o600, None), Err(ServerError::Held { .. })));
        drop(heard);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        assert!(UnixSocket::bind(&path, 0o600, None).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_group_is_found_by_name_and_number_as_the_system_has_it() {
        // Through NSS, which knows root's group on every system, whatever its databases are.
        assert_eq!(group_id("root").unwrap(), 0);
        assert_eq!(group_id("4711").unwrap(), 4711);
        let error = group_id("no-such-group-here").unwrap_err();
        assert!(error.to_string().contains("getent group no-such-group-here"), "{error}");
    }
}
