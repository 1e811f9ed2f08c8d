//! Detects a ledger that is older than the service's audit log.
//!
//! The rule: *a run that the audit log names is in the ledger, and one whose post-run the log records as successful is completed there.*
//! The ledger commits both, synced, before the audit log has the record: no crash and no power loss can cause another state. A ledger that
//! lacks a run is an older copy, or its write-ahead log was removed: it would let a train run twice. Only
//! the part of the log after the position that the ledger remembers is checked; the ledger knew of everything before.
//!
//! Records that name no run may be missing in the ledger after a power loss, because its memory of the log's position is not synced for
//! each: their number proves nothing.

use std::collections::BTreeMap;

use super::{
    Part, StateError, StateParts,
    parts::{LOST, is_lost, missing},
};
use crate::{
    audit::{self, Remembered, Unremembered},
    ledger::{Ledger, LogOf, RunState, UPGRADED},
};

/// The RPC that completes a run.
const COMPLETES: &str = "PostRun";

/// Returns the position of an audit log that the ledger remembers.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn remembered(ledger: &Ledger, of: LogOf) -> Result<Option<Remembered>, StateError> {
    let remembered = ledger.remembered_audit(of).await?;
    Ok(remembered.and_then(|(log, size, head)| Some(Remembered { log, size, head: head.try_into().ok()? })))
}

impl StateParts {
    /// Returns the position that the service's log must have reached. A ledger that remembers no position has seen none of its records.
    ///
    /// # Errors
    /// When the log is not the one that the ledger knows.
    pub async fn remembered(&self, ledger: &Ledger) -> Result<Option<Remembered>, StateError> {
        let known = remembered(ledger, LogOf::Service).await?;
        if is_unchecked(&ledger.facts().await?) {
            return Ok(known);
        }
        match (known, audit::log_in(&self.audit)?) {
            (Some(known), Some(log)) if known.log != log => Err(StateError::Mismatch {
                part: Part::Audit,
                path: self.audit.clone(),
                what: format!("it is the log {log}, and the ledger expects the log {}", known.log),
            }),
            (Some(_), None) => Err(missing(Part::Audit, &self.audit, "the ledger")),
            (None, Some(log)) => Ok(Some(Remembered { log, size: 0, head: Default::default() })),
            (known, _) => Ok(known),
        }
    }

    /// Checks that the ledger has the runs that the log names after the remembered position.
    ///
    /// # Errors
    /// When a run is missing: the ledger is older than the log.
    pub async fn check_ledger(&self, ledger: &Ledger, since: &Unremembered) -> Result<(), StateError> {
        if is_unchecked(&ledger.facts().await?) {
            return Ok(());
        }
        match missing_run(ledger, since).await? {
            None => Ok(()),
            Some(what) => Err(StateError::LedgerOutdated { audit: self.audit.clone(), what }),
        }
    }

    /// Returns whether the ledger is older than the log.
    pub(super) async fn is_outdated(&self, ledger: &Ledger) -> Result<bool, StateError> {
        let Some(position) = self.remembered(ledger).await? else { return Ok(false) };
        match audit::since(&self.audit, &position)? {
            Some(since) => Ok(self.check_ledger(ledger, &since).await.is_err()),
            None => Ok(false),
        }
    }
}

/// Stores the present position of the log in a directory in the ledger: earlier runs in the log need not be in the ledger any more, later ones must.
/// When there is no readable log, or another than the ledger knows, the next start accepts what it finds.
pub(super) async fn accept_audit_position(ledger: &Ledger, audit: &std::path::Path) -> Result<(), StateError> {
    let known = remembered(ledger, LogOf::Service).await?;
    match audit::end_of(audit) {
        Ok(Some(position)) if known.is_none_or(|known| known.log == position.log) => {
            Ok(ledger.remember_audit(LogOf::Service, &position.log, position.size, &position.head).await?)
        }
        _ => Ok(ledger.keep_fact(Part::Audit.name(), LOST).await?),
    }
}

/// Returns whether the other parts were accepted as they are, or the ledger is of a version without such facts.
fn is_unchecked(facts: &BTreeMap<String, String>) -> bool {
    is_lost(facts, Part::Audit) || facts.contains_key(UPGRADED)
}

/// Returns the evidence that the ledger is older than the log.
async fn missing_run(ledger: &Ledger, since: &Unremembered) -> Result<Option<String>, StateError> {
    if since.gone > 0 {
        return Ok(Some(format!("{} records that the ledger does not know are in segments that are missing", since.gone)));
    }
    for (run, ended) in &since.runs {
        let state = match run.parse() {
            Ok(id) => ledger.state_of(id).await?,
            Err(_) => None,
        };
        match state {
            None => return Ok(Some(format!("the audit log names the run {run}, and the ledger does not have it"))),
            Some(state) if ended.contains(COMPLETES) && state != RunState::Completed => {
                return Ok(Some(format!(
                    "the audit log records that the run {run} was completed, and in the ledger it is {}",
                    state.as_str()
                )));
            }
            Some(_) => {}
        }
    }
    Ok(None)
}
