//! Audit record of an administrator's command, on the disk before the command takes effect.

use std::path::Path;

use super::error::{CliError, Exit};
use crate::audit::{self, AuditError, Entry, Event};

/// The person behind a command, as far as that is known.
struct Person {
    /// As whom it runs.
    uid: u32,
    /// As whom the person logged in: kept by the kernel through `su` and `sudo`, and not to be set anew.
    login: Option<u32>,
    /// Who asked for it, as sudo says.
    sudo: Option<u32>,
}

impl Person {
    fn of_this_process() -> Self {
        /// What the kernel says of a process without a login.
        const NOBODY: u32 = u32::MAX;
        let number = |text: String| text.trim().parse::<u32>().ok();
        Self {
            uid: rustix::process::getuid().as_raw(),
            login: std::fs::read_to_string("/proc/self/loginuid").ok().and_then(number).filter(|uid| *uid != NOBODY),
            sudo: std::env::var("SUDO_UID").ok().and_then(number),
        }
    }
}

/// Who gives the command, as the system knows it; of root also who asked for it or logged in.
pub(super) fn name() -> String {
    match Person::of_this_process() {
        Person { uid: 0, sudo: Some(asker), .. } => format!("unix:uid=0 (sudo from unix:uid={asker})"),
        Person { uid: 0, login: Some(login), .. } if login != 0 => format!("unix:uid=0 (logged in as unix:uid={login})"),
        Person { uid, .. } => format!("unix:uid={uid}"),
    }
}

/// A record of a command, by whoever runs it.
pub(super) fn entry(event: Event, command: &str) -> Entry {
    let person = Person::of_this_process();
    let entry = Entry { principal: Some(name()), rpc: Some(command.to_owned()), ..Entry::of(event) };
    let also = [("login_uid", person.login), ("sudo_uid", person.sudo)];
    also.into_iter().fold(entry, |entry, (name, uid)| match uid {
        Some(uid) => entry.with(name, uid),
        None => entry,
    })
}

/// Does something once that it will be done is in the audit; and puts there what became of it.
pub(super) fn carry_out<T, E: Into<CliError>>(
    directory: &Path,
    entry: Entry,
    action: impl FnOnce() -> Result<T, E>,
) -> Result<T, CliError> {
    record(directory, entry.clone())?;
    let outcome = action().map_err(Into::into);
    let said = match &outcome {
        Ok(_) => Entry { outcome: Some("ok".to_owned()), ..entry },
        Err(error) => Entry { outcome: Some("failed".to_owned()), detail: Some(error.message.clone()), ..entry },
    };
    record(directory, said)?;
    outcome
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
            AuditError::Io { source, .. } => Exit::of_io(source.kind()),
            AuditError::Held(_) => Exit::State,
            _ => Exit::Other,
        };
        let hint = error.hint();
        Self::new(exit, format!("the audit: {error}")).with_hint(hint)
    }
}
