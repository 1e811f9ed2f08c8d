//! Audit record of an administrator's command, on the disk before the command takes effect.
//!
//! A guarded act ([`GuardedAct`]) is carried out with a [`Permit`] only, which [`four_eyes::permit`] alone gives.

pub(in crate::cli) mod ceremony;
pub(in crate::cli) mod four_eyes;

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::{CliError, Exit};
use crate::{
    audit::{self, AuditError, Entry, Event},
    config::GuardedAct,
};

/// The permission for one guarded act. It is used up by the act; no other module than this one and those below it can make one.
#[derive(Debug)]
pub(in crate::cli) struct Permit {
    act: GuardedAct,
    /// The request, its two officers and its digest; absent if the configuration requires no approval.
    approval: Option<Value>,
}

impl Permit {
    /// Returns the record of the act with the approval.
    fn record_of(self, entry: Entry) -> Result<Entry, CliError> {
        if guarded_act(entry.event) != Some(self.act) {
            let (event, act) = (entry.event.name(), self.act.name());
            return Err(CliError::other(format!("a permit for {act} is not one for {event}")));
        }
        Ok(match self.approval {
            Some(approval) => entry.with("approval", approval),
            None => entry,
        })
    }
}

/// Returns the guarded act that an event records.
fn guarded_act(event: Event) -> Option<GuardedAct> {
    match event {
        Event::KeyDestroyed => Some(GuardedAct::KeyDestroy),
        Event::KeyRestored => Some(GuardedAct::KeyRestore),
        Event::KeyImported => Some(GuardedAct::KeyImport),
        Event::TrustChanged => Some(GuardedAct::TrustChange),
        Event::AccessChanged => Some(GuardedAct::GrantChange),
        Event::RunAllowedAgain => Some(GuardedAct::AllowAgain),
        Event::OfficersChanged => Some(GuardedAct::OfficersChange),
        _ => None,
    }
}

/// Refuses the record of a guarded act that comes without a permit.
fn check_unguarded(entry: &Entry) -> Result<(), CliError> {
    match guarded_act(entry.event) {
        Some(act) => Err(CliError::other(format!("{} is an act that needs a permit", act.name()))),
        None => Ok(()),
    }
}

/// The identity of the user who runs a command, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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

    /// Returns the uid that identifies the person: that of the login, else that of sudo, else the process's.
    fn person(self) -> u32 {
        self.login.or(self.sudo).unwrap_or(self.uid)
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
    check_unguarded(&entry)?;
    carry_out_recorded(directory, entry, action)
}

/// Carries out a guarded act as [`carry_out`] does; its records contain the approval.
pub(super) fn carry_out_guarded<T, E: Into<CliError>>(
    directory: &Path,
    entry: Entry,
    permit: Permit,
    action: impl FnOnce() -> Result<T, E>,
) -> Result<T, CliError> {
    carry_out_recorded(directory, permit.record_of(entry)?, action)
}

fn carry_out_recorded<T, E: Into<CliError>>(
    directory: &Path,
    entry: Entry,
    action: impl FnOnce() -> Result<T, E>,
) -> Result<T, CliError> {
    write(directory, entry.clone())?;
    let outcome = action().map_err(Into::into);
    let result = match &outcome {
        Ok(_) => Entry { outcome: Some("ok".to_owned()), ..entry },
        Err(error) => Entry { outcome: Some("failed".to_owned()), detail: Some(error.message.clone()), ..entry },
    };
    write(directory, result)?;
    outcome
}

/// Writes a record to the administrators' log of a station.
pub(super) fn record(directory: &Path, entry: Entry) -> Result<(), CliError> {
    check_unguarded(&entry)?;
    write(directory, entry)
}

fn write(directory: &Path, entry: Entry) -> Result<(), CliError> {
    let entry = ceremony::linked(directory, entry)?;
    Ok(audit::record_command(directory, entry).map(drop)?)
}

/// Records a guarded change of a file if its station is known; prints a note if it is not.
pub(super) fn record_change(directory: Option<&Path>, entry: Entry, permit: Permit) -> Result<(), CliError> {
    let entry = permit.record_of(entry)?;
    match directory {
        Some(directory) => write(directory, entry),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guarded_act_is_not_recorded_without_its_permit_nor_carried_out() {
        let directory = tempfile::tempdir().unwrap();
        let guarded = [
            Event::KeyDestroyed,
            Event::KeyRestored,
            Event::KeyImported,
            Event::TrustChanged,
            Event::AccessChanged,
            Event::RunAllowedAgain,
            Event::OfficersChanged,
        ];
        for event in guarded {
            let act = || -> Result<(), CliError> { panic!("{event:?} was carried out") };
            assert!(carry_out(directory.path(), entry(event, "a command"), act).is_err());
            assert!(record(directory.path(), entry(event, "a command")).is_err());
            // The permit for one act is none for another.
            let other = Permit {
                act: if event == Event::KeyDestroyed { GuardedAct::KeyImport } else { GuardedAct::KeyDestroy },
                approval: None,
            };
            assert!(carry_out_guarded(directory.path(), entry(event, "a command"), other, act).is_err());
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "something was recorded");
    }
}
