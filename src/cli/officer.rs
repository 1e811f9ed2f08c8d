//! The record of an officer's command: on the disk before what it tells of is done.

use std::path::Path;

use super::error::{CliError, Exit};
use crate::audit::{self, AuditError, Entry, Event};

/// A record of a command, by whoever runs it.
pub(super) fn entry(event: Event, command: &str) -> Entry {
    let user = format!("unix:uid={}", rustix::process::getuid().as_raw());
    let entry = Entry { principal: Some(user), rpc: Some(command.to_owned()), ..Entry::of(event) };
    // Not proved by anything, but said by a program that root trusts.
    match std::env::var("SUDO_USER") {
        Ok(name) if !name.is_empty() && name.len() < 64 => entry.with("sudo_user", name),
        _ => entry,
    }
}

/// Records it in the officer's log of a station.
pub(super) fn record(directory: &Path, entry: Entry) -> Result<(), CliError> {
    Ok(audit::record_officers(directory, entry).map(drop)?)
}

/// Records a change of a file where it is known which station's it is; says so where it is not.
pub(super) fn record_change(directory: Option<&Path>, entry: Entry) -> Result<(), CliError> {
    match directory {
        Some(directory) => record(directory, entry),
        None => {
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                b"note: not in the audit, for --file names no station: with --config it is. A service that reads the file records that it changed\n",
            );
            Ok(())
        }
    }
}

impl From<AuditError> for CliError {
    fn from(error: AuditError) -> Self {
        let exit = match &error {
            AuditError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Exit::NotFound,
            AuditError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => Exit::Permission,
            AuditError::Held(_) => Exit::State,
            _ => Exit::Other,
        };
        let hint = error.hint();
        Self::new(exit, format!("the audit: {error}")).with_hint(hint)
    }
}
