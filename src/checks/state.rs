//! Checks of the state directory: who owns it, and whether ledger and audit belong together and were not changed.

use std::{fs, os::unix::fs::MetadataExt};

use nix::unistd::{Uid, User};

use super::{CheckNode, CheckState, files};
use crate::{
    audit::{
        self, Remembered,
        verify::{Expected, Head, LogVerification},
    },
    config::Config,
    key_states::{self, KEY_STATES, KeyState},
    ledger::{Ledger, LogOf},
    state::{self, Part, StateError, StateParts},
};

/// Checks the state directory's kind, mode and owner.
#[must_use]
pub fn directory(config: &Config) -> CheckNode {
    let found = files::state(config);
    if found.state != CheckState::Usable {
        return found;
    }
    let directory = &config.state.directory;
    let Ok(facts) = fs::metadata(directory) else { return found };
    let own = rustix::process::geteuid();
    let shown = directory.display();
    let name = |uid: u32| match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    };
    let wrong = |note: String, remedy: String| CheckNode::new("State", CheckState::Wrong, note).with_remedy(remedy);
    // Root may check another user's station: what is in the directory shows whose it is.
    let expected = if own.is_root() {
        fs::metadata(directory.join(state::LEDGER)).map_or(facts.uid(), |ledger| ledger.uid())
    } else {
        own.as_raw()
    };
    if facts.uid() == expected {
        return found;
    }
    let (owner, expected) = (name(facts.uid()), name(expected));
    if own.is_root() {
        let note = format!("{shown} belongs to {owner}, and the ledger in it to {expected}: the service refuses to start");
        wrong(note, format!("`chown {expected} {shown}`"))
    } else {
        let note = format!("{shown} belongs to {owner}, and this process is {expected}: a service of this user refuses to start");
        wrong(note, format!("`chown -R {expected} {shown}`, or run as its owner: `runuser -u {owner} -- stationmaster doctor`"))
    }
}

/// Checks the file of key states, and whether a train key is active.
#[must_use]
pub fn key_states(config: &Config, options: &str) -> CheckNode {
    const WHAT: &str = "Key states";
    let file = config.state.directory.join(KEY_STATES);
    let states = match key_states::file::read(&file) {
        Ok(states) => states,
        Err(error) => return CheckNode::new(WHAT, CheckState::Wrong, error.to_string()).with_remedy(error.hint()),
    };
    let now = jiff::Timestamp::now();
    let labels = &config.keys.train;
    if !labels.is_empty() && !labels.iter().any(|label| states.state(label, now) == KeyState::Active) {
        return CheckNode::new(WHAT, CheckState::Warned, "no train key is active: no new train can name one")
            .with_remedy(format!("`stationmaster key activate LABEL {options}` activates one, `key list {options}` shows all"));
    }
    let known: Vec<_> = labels.iter().map(|label| format!("{label} {}", states.state(label, now))).collect();
    CheckNode::new(WHAT, CheckState::Usable, known.join(", "))
}

/// Checks the ledger and the audit logs: that no part is missing, and that each log's chain is whole and has reached the position that the
/// ledger remembers. Returns a finding for the ledger and one for the audit.
pub async fn history(config: &Config) -> [CheckNode; 2] {
    let directory = &config.state.directory;
    let parts = StateParts::new(directory, &config.audit_directory(), Some(&config.station))
        .with_archive(config.audit.archive.as_deref());
    let skipped = |because: &str| CheckNode::skipped("Audit", format!("not checked: {because}"));
    if let Err(error) = parts.check_files() {
        return of_error(&error);
    }
    if !directory.join(state::LEDGER).exists() {
        return [
            CheckNode::new("Ledger", CheckState::NotYet, "created when the service starts"),
            CheckNode::new("Audit", CheckState::NotYet, "created when the service starts"),
        ];
    }
    let ledger = match Ledger::attach(&directory.join(state::LEDGER)).await {
        Ok(ledger) => ledger,
        Err(error) => {
            let finding = CheckNode::new("Ledger", CheckState::Wrong, error.to_string());
            let remedy = error.hint().unwrap_or("`state restore BACKUP` restores a backup").to_owned();
            return [finding.with_remedy(remedy), skipped("the ledger cannot be opened")];
        }
    };
    let checked = match parts.check(&ledger).await {
        Ok(()) => heads(&parts, &ledger).await,
        Err(error) => Err(error),
    };
    ledger.close().await;
    match checked {
        Err(error) => of_error(&error),
        Ok((service, administrators)) => {
            let audit = logs(config, service, administrators);
            [CheckNode::new("Ledger", CheckState::Usable, directory.join(state::LEDGER).display().to_string()), audit]
        }
    }
}

/// The positions that the ledger remembers: of the service's log, and of the administrators'.
type Heads = (Option<Remembered>, Option<Remembered>);

async fn heads(parts: &StateParts, ledger: &Ledger) -> Result<Heads, StateError> {
    Ok((parts.remembered(ledger).await?, state::remembered(ledger, LogOf::Administrators).await?))
}

/// Returns the findings of an error: it is about the audit, or about the ledger.
fn of_error(error: &StateError) -> [CheckNode; 2] {
    let of_audit = matches!(
        error,
        StateError::Audit(_) | StateError::Missing { part: Part::Audit, .. } | StateError::Mismatch { part: Part::Audit, .. }
    );
    let found = CheckNode::new(if of_audit { "Audit" } else { "Ledger" }, CheckState::Wrong, error.to_string());
    let found = match error.hint() {
        Some(hint) => found.with_remedy(hint),
        None => found,
    };
    if of_audit {
        [CheckNode::new("Ledger", CheckState::Usable, "it can be opened"), found]
    } else {
        [found, CheckNode::skipped("Audit", "not checked: the ledger cannot be used")]
    }
}

fn logs(config: &Config, service: Option<Remembered>, administrators: Option<Remembered>) -> CheckNode {
    let directory = config.audit_directory();
    let mut notes = Vec::new();
    for (log, remembered) in [(audit::SERVICE, service), (audit::ADMINISTRATORS, administrators)] {
        let place = directory.join(log);
        let wrong = |note: String| {
            CheckNode::new("Audit", CheckState::Wrong, note).with_remedy(format!(
                "keep {} as it is and find out who changed it: `stationmaster audit verify {}` lists every flaw; a copy of the disk or of the archive has the                  records. If they cannot be recovered: `state accept-loss audit --reason TEXT`",
                place.display(),
                directory.display()
            ))
        };
        let head = remembered.filter(|place| place.size > 0).map(|place| Head { size: place.size, hash: place.head });
        let verified = audit::verify::files(&place).and_then(|files| {
            let expected = Expected { keys: &[], head, allow_unsigned: true };
            if files.is_empty() { Ok(None) } else { audit::verify::verify(&files, expected).map(Some) }
        });
        match verified {
            Err(error) => return wrong(format!("{}: {error}", place.display())),
            Ok(None) => notes.push(format!("{log}: no records yet")),
            Ok(Some(found)) if !found.holds() => {
                let flaw = found.flaws.first().map(|flaw| format!("{}, line {}: {}", flaw.file.display(), flaw.line, flaw.what));
                return wrong(flaw.unwrap_or_else(|| "the log was changed".to_owned()));
            }
            Ok(Some(found)) => notes.push(described(log, &found)),
        }
    }
    CheckNode::new("Audit", CheckState::Usable, notes.join("; "))
}

fn described(log: &str, found: &LogVerification) -> String {
    let head = found.head.map_or(0, |head| head.size);
    if log == audit::SERVICE {
        format!("{log}: {head} records, the last checkpoint covers {}", found.claimed)
    } else {
        format!("{log}: {head} records")
    }
}
