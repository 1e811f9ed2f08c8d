//! Restores a backup: everything is copied aside and verified there before the first file is put in its place.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::Path,
};

use stationmaster_system::files::input;
use tokio::runtime::Handle;

use super::{
    BACKUP_FILES, LEDGER, LOCK, StateError,
    backup::{close_and_sync, sync},
    ledger_age::accept_audit_position,
    manifest::{FileEntry, Manifest},
};
use crate::ledger::{Ledger, Run};

/// What to do with runs that were open when the backup was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenRuns {
    /// They stay open: the next start continues from the backup.
    Keep,
    /// They are ended as failed; images that they may have left are not touched.
    Forget,
}

/// Result of a restore.
#[derive(Debug)]
pub struct Restored {
    /// The manifest.
    pub manifest: Manifest,
    /// Runs that were open in the backup.
    pub open: Vec<Run>,
}

/// Restores a backup into a state directory that has no state yet. The caller holds the directory's lock. A backup has no audit log: the
/// service's log below `audit` is accepted as it is, however far it continues after the backup.
///
/// # Errors
/// When the directory has state, the backup was changed since it was made, its ledger is damaged or of a newer version, or it has
/// open runs and `open_runs` does not specify what to do with them. Nothing is put in place then.
pub fn restore(
    backup: &Path,
    (state, audit): (&Path, &Path),
    open_runs: Option<OpenRuns>,
    handle: &Handle,
) -> Result<Restored, StateError> {
    for name in BACKUP_FILES.iter().map(|name| (*name).to_owned()).chain(["-wal", "-shm"].map(|end| format!("{LEDGER}{end}"))) {
        let path = state.join(name);
        if path.symlink_metadata().is_ok() {
            return Err(StateError::InTheWay(path));
        }
    }
    let manifest = Manifest::read(backup)?;
    let aside = tempfile::Builder::new()
        .prefix(".restore-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(state)
        .map_err(StateError::io("create a directory in", state))?;
    for entry in &manifest.file {
        let from = backup.join(&entry.name);
        copy(&from, &aside.path().join(&entry.name), entry.bytes).map_err(StateError::io("copy", &from))?;
        // The copy is what will be used, so the copy is verified.
        if FileEntry::of(aside.path(), &entry.name)? != *entry {
            return Err(StateError::unsound(&from, "it differs from the file in the manifest"));
        }
    }
    let ledger = handle.block_on(Ledger::open(&aside.path().join(LEDGER)))?;
    let log = audit.join(crate::audit::SERVICE);
    let settled = swap_in(&ledger, &manifest, open_runs)
        .and_then(|open| handle.block_on(accept_audit_position(&ledger, &log)).map(|()| open));
    handle.block_on(ledger.close());
    let open = settled?;

    let names = BACKUP_FILES.into_iter().filter(|name| manifest.file.iter().any(|entry| entry.name == *name));
    for name in names.clone() {
        close_and_sync(&aside.path().join(name))?;
    }
    for name in names {
        let place = state.join(name);
        fs::rename(aside.path().join(name), &place).map_err(StateError::io("install", &place))?;
        give_to_owner(state, &place)?;
    }
    // The caller may have created it just now.
    let lock = state.join(LOCK);
    if lock.exists() {
        give_to_owner(state, &lock)?;
    }
    sync(state)?;
    Ok(Restored { manifest, open })
}

/// Copies a file of a backup, at most as long as the manifest states.
fn copy(from: &Path, to: &Path, bytes: u64) -> io::Result<()> {
    let mut to = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    io::copy(&mut input::open_regular(from)?.take(bytes.saturating_add(1)), &mut to).map(drop)
}

fn swap_in(ledger: &Ledger, manifest: &Manifest, open_runs: Option<OpenRuns>) -> Result<Vec<Run>, StateError> {
    let open = ledger.open_runs()?;
    match open_runs {
        None if !open.is_empty() => {
            let name = |run: &Run| format!("{} ({}, {})", run.id, run.state.as_str(), run.image);
            return Err(StateError::OpenRuns(open.iter().map(name).collect()));
        }
        Some(OpenRuns::Forget) => {
            ledger.forget_open(&format!("open in the backup of {}; its outcome is unknown", manifest.made))?;
        }
        _ => {}
    }
    Ok(open)
}

/// Gives a file that root created in a service's directory to the service's user. Neither a link nor a hard link to a file elsewhere is
/// given away, because the service may have put it there.
fn give_to_owner(state: &Path, file: &Path) -> Result<(), StateError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = fs::metadata(state).map_err(StateError::io("read the metadata of", state))?;
    let open = fs::OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(file);
    let open = open.map_err(StateError::io("read the metadata of", file))?;
    let own = open.metadata().map_err(StateError::io("read the metadata of", file))?;
    if own.is_file() && own.nlink() == 1 && (own.uid(), own.gid()) != (owner.uid(), owner.gid()) {
        fchown(&open, Some(owner.uid()), Some(owner.gid())).map_err(StateError::io("change the owner of", file))?;
    }
    Ok(())
}
