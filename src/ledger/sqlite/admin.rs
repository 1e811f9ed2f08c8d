//! Changes that an administrator makes independently of the service, each with a reason: abandoning a run that will not be closed, and
//! releasing the stop of a completed run.

use super::{Ledger, now};
use crate::ledger::{LedgerError, ReasonText, Run, RunId, RunState};

impl Ledger {
    /// Abandons a prepared run: its state is then aborting, and the service, or its next start, completes the abort.
    ///
    /// # Errors
    /// When the run does not exist, or is not prepared.
    pub fn abandon(&self, id: RunId, by: &str, why: &ReasonText) -> Result<Run, LedgerError> {
        let query = sqlx::query(
            "UPDATE runs SET state = 'aborting', reason = ?, abandoned_by = ?, updated_at = ? WHERE id = ? AND state = 'prepared'",
        );
        match self.update(query.bind(why.as_str()).bind(by).bind(now()).bind(id.to_string()), "prepared") {
            Err(LedgerError::StateChanged(_)) => Err(LedgerError::InState(self.known(id)?.state)),
            other => other.and_then(|()| self.known(id)),
        }
    }

    /// Releases the stop of a completed run: one further run of it can be started and completed.
    ///
    /// # Errors
    /// When the run does not exist, is not completed, or was released before.
    pub fn release(&self, id: RunId, by: &str, why: &ReasonText) -> Result<Run, LedgerError> {
        let query = sqlx::query(
            "UPDATE runs SET released_at = ?, released_by = ?, released_reason = ? \
             WHERE id = ? AND state = 'completed' AND released_at IS NULL",
        );
        match self.update(query.bind(now()).bind(by).bind(why.as_str()).bind(id.to_string()), "completed") {
            Err(LedgerError::StateChanged(_)) => match self.known(id)? {
                run if run.state == RunState::Completed => Err(LedgerError::ReleasedBefore),
                run => Err(LedgerError::InState(run.state)),
            },
            other => other.and_then(|()| self.known(id)),
        }
    }

    fn known(&self, id: RunId) -> Result<Run, LedgerError> {
        self.run(id)?.ok_or_else(|| LedgerError::NoSuchRun(id.to_string()))
    }
}
