//! Queries for runs. *Newest* means started last, by the sequence `number`, because clocks may jump.

use std::collections::BTreeMap;

use sqlx::{Row, sqlite::SqliteRow};
use stationmaster_image::oci::reference::ImageId;
use stationmaster_train::route::StopIndex;

use super::{
    Ledger, Query,
    row::{COLUMNS, read},
};
use crate::ledger::{LedgerError, Run, RunFilter, RunId, RunState};

impl Ledger {
    /// Returns a run by its id.
    pub fn run(&self, id: RunId) -> Result<Option<Run>, LedgerError> {
        self.first("id = ?", |query| query.bind(id.to_string()))
    }

    /// Returns the state of a run, for async code.
    pub async fn state_of(&self, id: RunId) -> Result<Option<RunState>, LedgerError> {
        let query = sqlx::query_scalar("SELECT state FROM runs WHERE id = ?").bind(id.to_string());
        let state: Option<String> = query.fetch_optional(&self.pool).await?;
        state.map(|state| RunState::from_name(&state).ok_or(LedgerError::Corrupt(state))).transpose()
    }

    /// Returns the newest runs, newest first.
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

    /// Returns the run that occupies a train's stop: any except aborted, failed and released ones.
    pub fn of_stop(&self, station: &str, session_id: &[u8], stop_index: StopIndex) -> Result<Option<Run>, LedgerError> {
        self.first(
            "station = ? AND session_id = ? AND stop_index = ? AND state NOT IN ('aborted', 'failed') AND released_at IS NULL",
            |query| query.bind(station).bind(session_id).bind(stop_index.get()),
        )
    }

    /// Returns the newest live run of a train session at this station. A run whose stop was released is returned only when there is no other.
    pub fn of_session(&self, station: &str, session_id: &[u8]) -> Result<Option<Run>, LedgerError> {
        self.first(
            "station = ? AND session_id = ? AND state NOT IN ('aborted', 'failed') ORDER BY released_at IS NOT NULL, number DESC",
            |query| query.bind(station).bind(session_id),
        )
    }

    /// Returns the completed run that closes a stop of a train session, and all stops before it, at this station.
    pub fn finished(&self, station: &str, session_id: &[u8], stop_index: StopIndex) -> Result<Option<Run>, LedgerError> {
        self.first(
            "station = ? AND session_id = ? AND stop_index >= ? AND state = 'completed' AND released_at IS NULL ORDER BY number DESC",
            |query| query.bind(station).bind(session_id).bind(stop_index.get()),
        )
    }

    /// Returns the newest run with this opened image.
    pub fn of_opened_image(&self, image_id: &ImageId) -> Result<Option<Run>, LedgerError> {
        self.first("opened_image = ? AND state NOT IN ('aborted', 'failed') ORDER BY number DESC", |query| {
            query.bind(image_id.to_string())
        })
    }

    /// Returns the newest run, ended or not, that was opened into this image, or whose results were sealed from it.
    pub fn of_plaintext_image(&self, image_id: &ImageId) -> Result<Option<Run>, LedgerError> {
        self.first(
            "(opened_image = ? OR (opened_into = 'image' AND closing_image = ? AND closing_image <> source_image)) \
             ORDER BY number DESC",
            |query| query.bind(image_id.to_string()).bind(image_id.to_string()),
        )
    }

    /// Returns all open runs.
    pub fn open_runs(&self) -> Result<Vec<Run>, LedgerError> {
        self.all("state IN ('opening', 'prepared', 'closing', 'aborting') ORDER BY number")
    }

    /// Returns the number of runs, open or ended, of each station key, by its label.
    pub fn runs_by_key(&self) -> Result<BTreeMap<String, u64>, LedgerError> {
        let query = sqlx::query("SELECT key_label, COUNT(*) AS runs FROM runs GROUP BY key_label");
        let rows = self.block(query.fetch_all(&self.pool))?;
        let counted =
            |row: &SqliteRow| Ok((row.try_get("key_label")?, u64::try_from(row.try_get::<i64, _>("runs")?).unwrap_or(0)));
        rows.iter().map(counted).collect()
    }

    /// Returns the newest live run with a client's idempotency key. The same key of another client is a different key. Released runs are
    /// ignored, so that the same client may start again.
    pub fn of_idempotency_key(&self, station: &str, principal: &str, key: &str) -> Result<Option<Run>, LedgerError> {
        self.first(
            "station = ? AND principal = ? AND idempotency_key = ? AND state NOT IN ('aborted', 'failed') AND released_at IS NULL \
             ORDER BY number DESC",
            |query| query.bind(station).bind(principal).bind(key),
        )
    }

    /// Returns runs whose last step was interrupted.
    pub fn cut_off(&self) -> Result<Vec<Run>, LedgerError> {
        self.all("state IN ('opening', 'closing', 'aborting') ORDER BY number")
    }

    /// Returns runs that are being aborted: by a call, or because an administrator abandoned them.
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
