//! Removes details of runs that ended long ago. What prevents a train from running twice stays: the row of a completed run, and the session.

use super::Ledger;
use crate::ledger::{LedgerError, Pruned};

/// Failed and aborted runs, except those of which plaintext is still held, because they prevent a push of it.
const REMOVED: &str = "state IN ('failed', 'aborted') AND held = '[]' AND updated_at < ?";
/// Completed runs that have more than they need, and of which no plaintext is held.
const SHORTENED: &str = "state = 'completed' AND updated_at < ? AND (pre_run IS NOT NULL OR post_run IS NOT NULL) \
    AND COALESCE(json_array_length(post_run, '$.plaintext_held_by'), 0) = 0";

impl Ledger {
    /// Returns how much can be pruned of runs that ended before a time, in seconds since 1970.
    pub fn prunable(&self, before: i64) -> Result<Pruned, LedgerError> {
        let count = |condition: &str| {
            let sql = format!("SELECT COUNT(*) FROM runs WHERE {condition}");
            let query = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql)).bind(before);
            self.block(query.fetch_one(&self.pool)).map(i64::unsigned_abs)
        };
        Ok(Pruned { removed: count(REMOVED)?, shortened: count(SHORTENED)? })
    }

    /// Prunes runs that ended before a time, in seconds since 1970.
    pub fn prune(&self, before: i64) -> Result<Pruned, LedgerError> {
        let change = |sql: String| {
            let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(before);
            self.block(query.execute(&self.pool)).map(|done| done.rows_affected())
        };
        Ok(Pruned {
            removed: change(format!("DELETE FROM runs WHERE {REMOVED}"))?,
            shortened: change(format!(
                "UPDATE runs SET pre_run = NULL, post_run = NULL, immutable_files = '[]', config = x'' WHERE {SHORTENED}"
            ))?,
        })
    }
}
