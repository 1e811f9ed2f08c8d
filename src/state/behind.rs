//! Whether the ledger is as new as the service's audit beside it.
//!
//! The rule: *a run that the audit names is in the ledger, and one whose post-run the audit records as ended well is completed there.* The
//! ledger commits both, synced, before the audit has the record: no crash and no loss of power leaves it otherwise. A ledger that lacks a run
//! is an older one that was put beside the log, or one whose write-ahead log was removed: it would let a train run twice. Only what the
//! log says past the place that the ledger remembers is looked at; up to there the ledger knew of it.
//!
//! Records that name no run may be missing in the ledger after a loss of power, since its memory of the log's place is not synced for each:
//! how many there are proves nothing.

use std::collections::BTreeMap;

use super::{
    Life, Part, StateError,
    life::{is_lost, missing},
};
use crate::{
    audit::{self, Remembered, Unremembered},
    ledger::{Ledger, LogOf, RunState, UPGRADED},
};

/// The RPC that completes a run.
const COMPLETES: &str = "PostRun";

/// Where the ledger remembers a log of the audit to be.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn remembered(ledger: &Ledger, of: LogOf) -> Result<Option<Remembered>, StateError> {
    let remembered = ledger.remembered_audit(of).await?;
    Ok(remembered.and_then(|(log, size, head)| Some(Remembered { log, size, head: head.try_into().ok()? })))
}

impl Life {
    /// Where the service's log must have come past. A ledger that remembers no place of it has seen none of its records.
    ///
    /// # Errors
    /// When the log is another than the ledger knows.
    pub async fn remembered(&self, ledger: &Ledger) -> Result<Option<Remembered>, StateError> {
        let known = remembered(ledger, LogOf::Service).await?;
        if is_excused(&ledger.facts().await?) {
            return Ok(known);
        }
        match (known, audit::log_in(&self.audit)?) {
            (Some(known), Some(log)) if known.log != log => Err(StateError::OtherLife {
                part: Part::Audit,
                path: self.audit.clone(),
                what: format!("it is the log {log}, and the ledger knows the log {}", known.log),
            }),
            (Some(_), None) => Err(missing(Part::Audit, &self.audit, "the ledger")),
            (None, Some(log)) => Ok(Some(Remembered { log, size: 0, head: Default::default() })),
            (known, _) => Ok(known),
        }
    }

    /// Whether the ledger has the runs that the log names past the place that the ledger remembers.
    ///
    /// # Errors
    /// When it has not: it is older than the log.
    pub async fn check_ledger(&self, ledger: &Ledger, since: &Unremembered) -> Result<(), StateError> {
        if is_excused(&ledger.facts().await?) {
            return Ok(());
        }
        match lacks(ledger, since).await? {
            None => Ok(()),
            Some(what) => Err(StateError::Behind { audit: self.audit.clone(), what }),
        }
    }

    /// Whether the ledger is older than the log beside it.
    pub(super) async fn is_behind(&self, ledger: &Ledger) -> Result<bool, StateError> {
        let Some(place) = self.remembered(ledger).await? else { return Ok(false) };
        match audit::since(&self.audit, &place)? {
            Some(since) => Ok(self.check_ledger(ledger, &since).await.is_err()),
            None => Ok(false),
        }
    }
}

/// Has the ledger remember the log of a directory as it is there now: what it says of earlier runs is missed no more, what it will say is.
/// Where there is no log that can be read, or another than the ledger knows, the next start takes what it finds.
pub(super) async fn take_audit_as_it_is(ledger: &Ledger, audit: &std::path::Path) -> Result<(), StateError> {
    let known = remembered(ledger, LogOf::Service).await?;
    match audit::end_of(audit) {
        Ok(Some(place)) if known.is_none_or(|known| known.log == place.log) => {
            Ok(ledger.remember_audit(LogOf::Service, &place.log, place.size, &place.head).await?)
        }
        _ => Ok(ledger.keep_fact(Part::Audit.name(), super::life::LOST).await?),
    }
}

/// Whether what lies beside the ledger was accepted as it is, or the ledger is of a version that knew nothing of it.
fn is_excused(facts: &BTreeMap<String, String>) -> bool {
    is_lost(facts, Part::Audit) || facts.contains_key(UPGRADED)
}

/// What shows that the ledger is older than the log.
async fn lacks(ledger: &Ledger, since: &Unremembered) -> Result<Option<String>, StateError> {
    if since.gone > 0 {
        return Ok(Some(format!("{} records that the ledger does not know are in segments that were moved away", since.gone)));
    }
    for (run, ended) in &since.runs {
        match ledger.state_of(run).await? {
            None => return Ok(Some(format!("the audit names the run {run}, and the ledger does not have it"))),
            Some(state) if ended.contains(COMPLETES) && state != RunState::Completed => {
                return Ok(Some(format!(
                    "the audit says that the run {run} was completed, and in the ledger it is {}",
                    state.as_str()
                )));
            }
            Some(_) => {}
        }
    }
    Ok(None)
}
