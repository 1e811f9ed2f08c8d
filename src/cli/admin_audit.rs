//! Audit record of an administrator's command, on the disk before the command takes effect.

use std::path::Path;

use super::error::{CliError, Exit};
use crate::audit::{self, AuditError, Entry, Event};

/// The identity of the user who runs a command, as far as it is known.
struct CommandUser {
    /// The process's user.
    uid: u32,
    /// The user who logged in, which the kernel keeps through `su` and `sudo` and which cannot be changed.
    login: Option<u32>,
    /// The user who invoked sudo, as sudo reports it.
    sudo: Option<u32>,
}

impl CommandUser {
    fn of_this_process() -> Self {
        /// The kernel's value for a process without a login.
        const UNSET: u32 = u32::MAX;
        let number = |text: String| text.trim().parse::<u32>().ok();
        Self {
            uid: rustix::process::getuid().as_raw(),
            login: std::fs::read_to_string("/proc/self/loginuid").ok().and_then(number).filter(|uid| *uid != UNSET),
            sudo: std::env::var("SUDO_UID").ok().and_then(number),
        }
    }
}

/// Returns the name of the user who runs the command; for root also the user who invoked sudo or logged in.
pub(super) fn user_name() -> String {
    match CommandUser::of_this_process() {
        CommandUser { uid: 0, sudo: Some(invoker), .. } => format!("unix:uid=0 (sudo from unix:uid={invoker})"),
        CommandUser { uid: 0, login: Some(login), .. } if login != 0 => format!("unix:uid=0 (logged in as unix:uid={login})"),
        CommandUser { uid, .. } => format!("unix:uid={uid}"),
    }
}

/// Returns a record of a command, with the user who runs it.
pub(super) fn entry(event: Event, command: &str) -> Entry {
    let user = CommandUser::of_this_process();
    let entry = Entry { principal: Some(user_name()), rpc: Some(command.to_owned()), ..Entry::of(event) };
    let also = [("login_uid", user.login), ("sudo_uid", user.sudo)];
    also.into_iter().fold(entry, |entry, (name, uid)| match uid {
        Some(uid) => entry.with(name, uid),
        None => entry,
    })
}

/// Records that an action will be carried out, carries it out, and records its outcome.
pub(super) fn carry_out<T, E: Into<CliError>>(
    directory: &Path,
    entry: Entry,
    action: impl FnOnce() -> Result<T, E>,
) -> Result<T, CliError> {
    record(directory, entry.clone())?;
    let outcome = action().map_err(Into::into);
    let result = match &outcome {
        Ok(_) => Entry { outcome: Some("ok".to_owned()), ..entry },
        Err(error) => Entry { outcome: Some("failed".to_owned()), detail: Some(error.message.clone()), ..entry },
    };
    record(directory, result)?;
    outcome
}

/// Writes a record to the administrators' log of a station.
pub(super) fn record(directory: &Path, entry: Entry) -> Result<(), CliError> {
    Ok(audit::record_command(directory, entry).map(drop)?)
}

/// Records a change of a file if its station is known; prints a note if it is not.
pub(super) fn record_change(directory: Option<&Path>, entry: Entry) -> Result<(), CliError> {
    match directory {
        Some(directory) => record(directory, entry),
        None => {
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                b"note: not recorded in the audit log, because --file names no station; use --config. A service that reads the file records the change\n",
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
