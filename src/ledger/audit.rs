//! Where the audit's logs have been: remembered apart from them, so that an older log put back is noticed.

use sqlx::Row;

use super::{Ledger, LedgerError};

impl Ledger {
    /// Remembers how far a log of the audit has come: its records, and the hash of the last of them.
    pub async fn remember_audit(&self, log: &str, size: u64, head: &[u8]) -> Result<(), LedgerError> {
        let query = sqlx::query(
            "INSERT INTO audit_heads (log, size, head, updated_at) VALUES (?, ?, ?, ?) \
             ON CONFLICT (log) DO UPDATE SET size = excluded.size, head = excluded.head, updated_at = excluded.updated_at",
        );
        let now = jiff::Timestamp::now().as_second();
        query.bind(log).bind(size.cast_signed()).bind(head).bind(now).execute(&self.pool).await?;
        Ok(())
    }

    /// The log of the audit that was written to last: its id, its size, and the hash of its last record.
    pub async fn remembered_audit(&self) -> Result<Option<(String, u64, Vec<u8>)>, LedgerError> {
        let sql = "SELECT log, size, head FROM audit_heads ORDER BY updated_at DESC, size DESC LIMIT 1";
        let Some(row) = sqlx::query(sql).fetch_optional(&self.pool).await? else { return Ok(None) };
        let size: i64 = row.try_get("size")?;
        Ok(Some((row.try_get("log")?, size.cast_unsigned(), row.try_get("head")?)))
    }
}
