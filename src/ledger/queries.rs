//! Which runs there are. "Newest" is the one that began last, whatever the clock said: `number` counts beginnings.

use super::{
    Ledger, LedgerError, Query, Run, RunState,
    row::{COLUMNS, read},
};

/// Which runs to list.
#[derive(Clone, Debug)]
pub struct RunFilter {
    /// Only those that may still go on.
    pub open: bool,
    /// Only those in this state.
    pub state: Option<RunState>,
    /// Only those of the train with this `@id`.
    pub train: Option<String>,
    /// Only those of train sessions that begin so, in lower-case hex.
    pub session: Option<String>,
    /// At most so many.
    pub limit: u32,
}

impl Ledger {
    /// A run by its id.
    pub fn run(&self, id: &str) -> Result<Option<Run>, LedgerError> {
        self.first("id = ?", |query| query.bind(id))
    }

    /// The state of a run, for async code.
    pub async fn state_of(&self, id: &str) -> Result<Option<RunState>, LedgerError> {
        let query = sqlx::query_scalar("SELECT state FROM runs WHERE id = ?").bind(id);
        let state: Option<String> = query.fetch_optional(&self.pool).await?;
        state.map(|state| RunState::from_name(&state).ok_or(LedgerError::Corrupt(state))).transpose()
    }

    /// The newest runs, newest first.
    pub fn list(&self, filter: &RunFilter) -> Result<Vec<Run>, LedgerError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM runs WHERE (NOT ?1 OR state IN ('opening', 'prepared', 'closing', 'aborting')) \
             AND (?2 IS NULL OR state = ?2) AND (?3 IS NULL OR train_id = ?3) \
             AND (?4 IS NULL OR substr(lower(hex(session_id)), 1, length(?4)) = ?4) ORDER BY number DESC LIMIT ?5"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(filter.open)
            .bind(filter.state.map(RunState::as_str))
            .bind(filter.train.clone())
            .bind(filter.session.clone())
            .bind(filter.limit);
        self.block(query.fetch_all(&self.pool))?.iter().map(read).collect()
    }

    /// The run that holds a train's stop: any but aborted and failed ones, and those that an officer has released.
    pub fn of_stop(&self, station: &str, session_id: &[u8], stop_index: u32) -> Result<Option<Run>, LedgerError> {
        self.first(
            "station = ? AND session_id = ? AND stop_index = ? AND state NOT IN ('aborted', 'failed') AND released_at IS NULL",
            |query| query.bind(station).bind(session_id).bind(stop_index),
        )
    }

    /// The newest live run of a train session at this station. One whose stop was released counts only when there is no other.
    pub fn of_session(&self, station: &str, session_id: &[u8]) -> Result<Option<Run>, LedgerError> {
        self.first(
            "station = ? AND session_id = ? AND state NOT IN ('aborted', 'failed') ORDER BY released_at IS NOT NULL, number DESC",
            |query| query.bind(station).bind(session_id),
        )
    }

    /// The completed run that shuts a stop of a train session, and all stops before it, at this station.
    pub fn finished(&self, station: &str, session_id: &[u8], stop_index: u32) -> Result<Option<Run>, LedgerError> {
        self.first(
            "station = ? AND session_id = ? AND stop_index >= ? AND state = 'completed' AND released_at IS NULL ORDER BY number DESC",
            |query| query.bind(station).bind(session_id).bind(stop_index),
        )
    }

    /// The newest run whose opened image this is.
    pub fn of_opened_image(&self, image_id: &str) -> Result<Option<Run>, LedgerError> {
        self.first("opened_image = ? AND state NOT IN ('aborted', 'failed') ORDER BY number DESC", |query| query.bind(image_id))
    }

    /// The newest run, ended or not, that was opened into this image, or whose results were sealed from it.
    pub fn of_plaintext_image(&self, image_id: &str) -> Result<Option<Run>, LedgerError> {
        self.first(
            "(opened_image = ? OR (opened_into = 'image' AND closing_image = ? AND closing_image <> source_image)) \
             ORDER BY number DESC",
            |query| query.bind(image_id).bind(image_id),
        )
    }

    /// Runs that are not ended.
    pub fn open_runs(&self) -> Result<Vec<Run>, LedgerError> {
        self.all("state IN ('opening', 'prepared', 'closing', 'aborting') ORDER BY number")
    }

    /// The newest live run with an idempotency key of a client's. Another client's same key is another key. A released run is done with: the
    /// same client may come again.
    pub fn of_idempotency_key(&self, station: &str, principal: &str, key: &str) -> Result<Option<Run>, LedgerError> {
        self.first(
            "station = ? AND principal = ? AND idempotency_key = ? AND state NOT IN ('aborted', 'failed') AND released_at IS NULL \
             ORDER BY number DESC",
            |query| query.bind(station).bind(principal).bind(key),
        )
    }

    /// Runs whose last step was cut off.
    pub fn cut_off(&self) -> Result<Vec<Run>, LedgerError> {
        self.all("state IN ('opening', 'closing', 'aborting') ORDER BY number")
    }

    /// Runs that are being aborted: by a call, or because an officer has given them up.
    pub fn aborting(&self) -> Result<Vec<Run>, LedgerError> {
        self.all("state = 'aborting' ORDER BY number")
    }

    fn all(&self, condition: &str) -> Result<Vec<Run>, LedgerError> {
        let sql = format!("SELECT {COLUMNS} FROM runs WHERE {condition}");
        let rows = self.block(sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&self.pool))?;
        rows.iter().map(read).collect()
    }

    fn first<'q>(&self, condition: &str, bind: impl FnOnce(Query<'q>) -> Query<'q>) -> Result<Option<Run>, LedgerError> {
        let sql = format!("SELECT {COLUMNS} FROM runs WHERE {condition} LIMIT 1");
        let row = self.block(bind(sqlx::query(sqlx::AssertSqlSafe(sql))).fetch_optional(&self.pool))?;
        row.as_ref().map(read).transpose()
    }
}
