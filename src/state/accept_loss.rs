//! Continues without a part of the state that is lost.

use std::path::Path;

use stationmaster_system::files::Directory;

use super::{
    FIRST_SEEN, INSTANCE, KEY_STATES, LEDGER, Part, StateError, StateParts,
    ledger_age::accept_audit_position,
    parts::{BEGINNING, LOST, is_filled, read_id},
};
use crate::ledger::Ledger;

/// Continues without a part that is lost. The caller holds the directory's lock, and has recorded the decision. For [`Part::Ledger`] a
/// new ledger is created when there is none, and one that is older than the audit log is accepted as it is; an instance's id that the
/// ledger still knows is written back.
///
/// # Errors
/// When the part is not lost, or the ledger cannot be written.
pub async fn accept_loss(parts: &StateParts, part: Part) -> Result<(), StateError> {
    if part == Part::Ledger {
        let ledger = Ledger::open(&parts.directory.join(LEDGER)).await?;
        let accepted = accept_ledger(parts, &ledger).await;
        ledger.close().await;
        return accepted;
    }
    let ledger = Ledger::attach(&parts.directory.join(LEDGER)).await?;
    let accepted = accept_in(parts, part, &ledger).await;
    ledger.close().await;
    accepted
}

async fn accept_ledger(parts: &StateParts, ledger: &Ledger) -> Result<(), StateError> {
    if ledger.facts().await?.is_empty() {
        ledger.keep_fact(BEGINNING, "after its loss").await?;
    } else if !parts.is_outdated(ledger).await? {
        return Err(StateError::NotLost(Part::Ledger));
    }
    accept_audit_position(ledger, &parts.audit).await
}

async fn accept_in(parts: &StateParts, part: Part, ledger: &Ledger) -> Result<(), StateError> {
    let facts = ledger.facts().await?;
    let exists = match part {
        Part::Instance => parts.check_instance(&facts, true).is_ok(),
        Part::Audit => parts.audit_is_begun() && !matches!(parts.remembered(ledger).await, Err(StateError::Mismatch { .. })),
        Part::FirstSeen => is_filled(&parts.directory.join(FIRST_SEEN)) || !facts.contains_key(part.name()),
        Part::KeyStates => is_filled(&parts.directory.join(KEY_STATES)) || !facts.contains_key(part.name()),
        Part::Ledger | Part::Station => false,
    };
    if exists {
        return Err(StateError::NotLost(part));
    }
    let has_id = read_id(&parts.directory.join(INSTANCE)).is_some();
    match facts.get(part.name()).filter(|_| part == Part::Instance && !has_id) {
        Some(known) if known != LOST => write_instance(&parts.directory, known)?,
        _ => ledger.keep_fact(part.name(), LOST).await?,
    }
    Ok(())
}

/// Writes the id of an instance again, atomically.
fn write_instance(directory: &Path, id: &str) -> Result<(), StateError> {
    let written = Directory::open(directory).and_then(|state| state.replace(INSTANCE, 0o600, id.as_bytes()));
    written.map_err(StateError::io("write", &directory.join(INSTANCE)))
}
