//! The state directory: its permissions and its lock.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use stationmaster_system::files::{explained, make_directory};

use super::{ServerError, lock::Lock};
use crate::state;

/// Checks that a directory with open permissions is a station's, or empty: a station must not change the mode of any other
/// directory.
///
/// # Errors
/// When it is neither, with the remedy; or when it cannot be read.
pub fn check_is_station(directory: &Path) -> io::Result<()> {
    // `lost+found` belongs to the file system.
    const STATION_FILES: [&str; 9] = [
        state::LOCK,
        state::LEDGER,
        state::INSTANCE,
        state::FIRST_SEEN,
        state::KEY_STATES,
        "audit",
        "pin-latch",
        "tokens",
        "softhsm",
    ];
    let mode = fs::metadata(directory)?.mode() & 0o7777;
    if mode & 0o077 == 0 || STATION_FILES.iter().any(|name| directory.join(name).symlink_metadata().is_ok()) {
        return Ok(());
    }
    let names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    match names.iter().find(|name| *name != "lost+found") {
        None => Ok(()),
        Some(name) => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!(
                "it contains {name:?} and no state of a station, and is accessible to others (mode {mode:04o}): name a new or an empty directory, \
                 or run chmod 700 {} if it is the intended one",
                directory.display()
            ),
        )),
    }
}

/// Creates the service's state directory if it does not exist, removes the permissions of other users, and takes its lock.
///
/// # Errors
/// When another service holds it, it belongs to another user or is not [a station's](check_is_station), or it cannot be created.
pub fn lock_state(directory: &Path) -> Result<Lock, ServerError> {
    lock(directory, false)
}

/// As [`lock_state`], for an administrator's command: root restores a backup into the directory of a service's user.
///
/// # Errors
/// As [`lock_state`].
pub fn lock_state_for_command(directory: &Path) -> Result<Lock, ServerError> {
    lock(directory, rustix::process::geteuid().is_root())
}

fn lock(directory: &Path, of_any_user: bool) -> Result<Lock, ServerError> {
    let trouble =
        |what: &str, error| ServerError::io(format!("cannot {what} {}", directory.display()), explained(directory, error));
    make_directory(directory).map_err(|error| trouble("create", error))?;
    let facts = fs::metadata(directory).map_err(|error| trouble("read the metadata of", error))?;
    let (owner, own, mode) = (facts.uid(), rustix::process::geteuid().as_raw(), facts.mode() & 0o7777);
    // Its owner can replace every file in it, also under a service of root's.
    if owner != own && !of_any_user {
        let shown = directory.display();
        let text =
            format!("it belongs to uid {owner}, and this process is uid {own}: chown -R {own} {shown}, or run as uid {owner}");
        return Err(trouble("use the state directory", io::Error::new(io::ErrorKind::PermissionDenied, text)));
    }
    if mode & 0o077 != 0 {
        check_is_station(directory).map_err(|error| trouble("use the state directory", error))?;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700))
            .map_err(|error| trouble("restrict the mode of", error))?;
        tracing::warn!(directory = %directory.display(), before = format!("{mode:04o}"), "the state directory was accessible to others: its mode is now 0700");
    }
    Lock::acquire(&directory.join(state::LOCK), &format!("the state directory {}", directory.display()))
}
