//! Positions of the audit logs, stored apart from the logs, so that an older or a rewritten log is detected.

use sqlx::Row;

use super::{Ledger, now};
use crate::ledger::{LedgerError, LogOf};

impl Ledger {
    /// Stores the position of an audit log: its number of records, and the hash of the last one. Uses a connection of its own that does
    /// not wait for the disk: after a power loss an earlier position may be stored, never one that the log has not reached.
    pub async fn remember_audit(&self, of: LogOf, log: &str, size: u64, head: &[u8]) -> Result<(), LedgerError> {
        let query = sqlx::query(
            "INSERT INTO audit_heads (log, size, head, updated_at, writer) VALUES (?, ?, ?, ?, ?) \
             ON CONFLICT (log) DO UPDATE SET size = excluded.size, head = excluded.head, updated_at = excluded.updated_at",
        );
        let query = query.bind(log).bind(size.cast_signed()).bind(head).bind(now()).bind(of.name());
        query.execute(&self.heads).await?;
        Ok(())
    }

    /// As [`Ledger::remember_audit`], for a thread that may block.
    pub fn remember_audit_blocking(&self, of: LogOf, log: &str, size: u64, head: &[u8]) -> Result<(), LedgerError> {
        self.block(self.remember_audit(of, log, size, head))
    }

    /// Forgets positions in other logs than this, so that none is taken for the current one after the clock was set back.
    pub async fn forget_other_audits(&self, of: LogOf, log: &str) -> Result<(), LedgerError> {
        let query = sqlx::query("DELETE FROM audit_heads WHERE writer = ? AND log != ?").bind(of.name()).bind(log);
        query.execute(&self.pool).await?;
        Ok(())
    }

    /// Returns the audit log that was written last: its id, its size, and the hash of its last record.
    pub async fn remembered_audit(&self, of: LogOf) -> Result<Option<(String, u64, Vec<u8>)>, LedgerError> {
        let sql = "SELECT log, size, head FROM audit_heads WHERE writer = ? ORDER BY updated_at DESC, rowid DESC LIMIT 1";
        let Some(row) = sqlx::query(sql).bind(of.name()).fetch_optional(&self.pool).await? else { return Ok(None) };
        let size: i64 = row.try_get("size")?;
        Ok(Some((row.try_get("log")?, size.cast_unsigned(), row.try_get("head")?)))
    }
}
