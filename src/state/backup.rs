//! Creates a backup: a directory with copies and a manifest, created atomically.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use stationmaster_system::files::{Directory, check_private};

use super::{
    FIRST_SEEN, INSTANCE, KEY_STATES, LEDGER, StateError,
    manifest::{FILE, FileEntry, Manifest},
};
use crate::ledger::{Ledger, LedgerError};

/// Copies the persistent state to a new directory; a service may be running. `ledger` is the ledger in `state`.
///
/// # Errors
/// When the target exists, or a file cannot be copied; nothing is left of it then.
pub fn backup(state: &Path, ledger: &Ledger, station: Option<&str>, target: &Path) -> Result<Manifest, StateError> {
    if target.symlink_metadata().is_ok() {
        return Err(StateError::InTheWay(target.to_owned()));
    }
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let making = tempfile::Builder::new()
        .prefix(".stationmaster-backup-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(&parent)
        .map_err(StateError::io("create a directory in", &parent))?;
    let aside = making.path();

    // A full disk is the copy's, not the ledger's.
    ledger.copy_to(&aside.join(LEDGER)).map_err(|error| match error {
        LedgerError::DiskFull => StateError::io("copy the ledger into", &parent)(io::ErrorKind::StorageFull.into()),
        error => error.into(),
    })?;
    // After the ledger: keys pinned by a run in the copied ledger are then in the file.
    let mut names = vec![LEDGER];
    for (name, is_optional) in [(INSTANCE, false), (FIRST_SEEN, true), (KEY_STATES, true)] {
        let from = state.join(name);
        match copy(&from, &aside.join(name)) {
            Ok(()) => names.push(name),
            Err(error) if is_optional && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if is_full(&error) => return Err(StateError::io("write into", &parent)(error)),
            Err(error) => return Err(StateError::io("copy", &from)(error)),
        }
    }
    let files = names.iter().map(|name| FileEntry::of(aside, name)).collect::<Result<Vec<_>, _>>()?;
    let manifest = Manifest::new(station, Ledger::schema(), ledger.count()?, files);
    let text = aside.join(FILE);
    // A write error is reported for the directory that was named, not for the temporary names.
    let in_parent = |error: StateError| match error {
        StateError::Io { source, .. } if is_full(&source) => StateError::io("write into", &parent)(source),
        error => error,
    };
    fs::write(&text, manifest.text()?).map_err(StateError::io("write", &text)).map_err(in_parent)?;
    for name in names.iter().chain([&FILE]) {
        close_and_sync(&aside.join(name)).map_err(in_parent)?;
    }
    sync(aside)?;
    // It exists now: from here on it is the target and must not be removed.
    let aside = making.keep();
    fs::rename(&aside, target).map_err(|error| {
        let _ = fs::remove_dir_all(&aside);
        StateError::io("create", target)(error)
    })?;
    sync(&parent)?;
    Ok(manifest)
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Copies a state file. The service's user could have put a link there to a file that only root can read.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    check_private(from)?;
    let (directory, name) = Directory::of_file(from)?;
    io::copy(&mut directory.open_file(name)?, &mut File::create_new(to)?).map(drop)
}

/// Restricts a file to its owner and syncs it to the disk.
pub(super) fn close_and_sync(path: &Path) -> Result<(), StateError> {
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(StateError::io("restrict the mode of", path))?;
    sync(path)
}

pub(super) fn sync(path: &Path) -> Result<(), StateError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(StateError::io("write", path))
}
