//! Copies the ledger for a backup, and ends the open runs of a restored copy.

use std::path::Path;

use super::{Ledger, now};
use crate::ledger::LedgerError;

impl Ledger {
    /// Writes a consistent copy of the whole ledger into a new file, without blocking other users.
    pub fn copy_to(&self, file: &Path) -> Result<(), LedgerError> {
        let name = file.to_str().ok_or_else(|| LedgerError::Corrupt("a copy's name is not UTF-8".into()))?.to_owned();
        self.block(sqlx::query("VACUUM INTO ?").bind(name).execute(&self.pool))?;
        Ok(())
    }

    /// Returns the number of runs.
    pub fn count(&self) -> Result<u64, LedgerError> {
        let count: i64 = self.block(sqlx::query_scalar("SELECT COUNT(*) FROM runs").fetch_one(&self.pool))?;
        Ok(count.unsigned_abs())
    }

    /// Ends every open run as failed without touching what it may have left outside. Only for a ledger from a backup.
    pub fn forget_open(&self, reason: &str) -> Result<(), LedgerError> {
        let query = sqlx::query(
            "UPDATE runs SET state = 'failed', config = x'', reason = ?, updated_at = ? \
             WHERE state IN ('opening', 'prepared', 'closing', 'aborting')",
        );
        self.block(query.bind(reason.to_owned()).bind(now()).execute(&self.pool))?;
        Ok(())
    }
}
