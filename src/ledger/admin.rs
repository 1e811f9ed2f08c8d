//! Changes that an administrator makes independently of the service, each with a reason: abandoning a run that will not be closed, and
//! releasing the stop of a completed run.

use std::str::FromStr;

use thiserror::Error;

use super::{Ledger, LedgerError, Run, RunState, now};

/// Maximum length of a reason, in characters.
const LIMIT: usize = 500;

/// An administrator's reason: never empty, of bounded length, one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReasonText(String);

/// Why a text is not a reason.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum WhyError {
    /// It is empty.
    #[error("a reason is needed")]
    Empty,
    /// It is too long.
    #[error("a reason has at most {LIMIT} characters")]
    Long,
    /// It contains line ends or other control characters.
    #[error("a reason holds no control characters")]
    Control,
}

impl ReasonText {
    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ReasonText {
    type Err = WhyError;

    fn from_str(text: &str) -> Result<Self, WhyError> {
        if text.chars().any(char::is_control) {
            return Err(WhyError::Control);
        }
        match text.trim() {
            "" => Err(WhyError::Empty),
            text if text.chars().count() > LIMIT => Err(WhyError::Long),
            text => Ok(Self(text.to_owned())),
        }
    }
}

impl Ledger {
    /// Abandons a prepared run: its state is then aborting, and the service, or its next start, completes the abort.
    ///
    /// # Errors
    /// When the run does not exist, or is not prepared.
    pub fn abandon(&self, id: &str, by: &str, why: &ReasonText) -> Result<Run, LedgerError> {
        let query = sqlx::query(
            "UPDATE runs SET state = 'aborting', reason = ?, abandoned_by = ?, updated_at = ? WHERE id = ? AND state = 'prepared'",
        );
        match self.update(query.bind(why.as_str()).bind(by).bind(now()).bind(id), "prepared") {
            Err(LedgerError::StateChanged(_)) => Err(LedgerError::InState(self.known(id)?.state)),
            other => other.and_then(|()| self.known(id)),
        }
    }

    /// Releases the stop of a completed run: one further run of it can be started and completed.
    ///
    /// # Errors
    /// When the run does not exist, is not completed, or was released before.
    pub fn release(&self, id: &str, by: &str, why: &ReasonText) -> Result<Run, LedgerError> {
        let query = sqlx::query(
            "UPDATE runs SET released_at = ?, released_by = ?, released_reason = ? \
             WHERE id = ? AND state = 'completed' AND released_at IS NULL",
        );
        match self.update(query.bind(now()).bind(by).bind(why.as_str()).bind(id), "completed") {
            Err(LedgerError::StateChanged(_)) => match self.known(id)? {
                run if run.state == RunState::Completed => Err(LedgerError::ReleasedBefore),
                run => Err(LedgerError::InState(run.state)),
            },
            other => other.and_then(|()| self.known(id)),
        }
    }

    fn known(&self, id: &str) -> Result<Run, LedgerError> {
        self.run(id)?.ok_or_else(|| LedgerError::NoSuchRun(id.to_owned()))
    }
}
