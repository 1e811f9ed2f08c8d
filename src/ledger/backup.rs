//! A copy of the ledger for a backup, and what becomes of the open runs in one that is put back.

use std::path::Path;

use super::{Ledger, LedgerError, now};

impl Ledger {
    /// Writes a copy of the whole ledger, as it is at one moment, into a file that is not there yet. Nobody has to wait for it.
    pub fn copy_to(&self, file: &Path) -> Result<(), LedgerError> {
        let name = file.to_str().ok_or_else(|| LedgerError::Corrupt("a copy's name is not UTF-8".into()))?.to_owned();
        self.block(sqlx::query("VACUUM INTO ?").bind(name).execute(&self.pool))?;
        Ok(())
    }

    /// How many runs there are.
    pub fn count(&self) -> Result<u64, LedgerError> {
        let count: i64 = self.block(sqlx::query_scalar("SELECT COUNT(*) FROM runs").fetch_one(&self.pool))?;
        Ok(count.unsigned_abs())
    }

    /// Ends every open run as failed without touching what it may have left outside. Only for a ledger of another time.
    pub fn forget_open(&self, reason: &str) -> Result<(), LedgerError> {
        let query = sqlx::query(
            "UPDATE runs SET state = 'failed', config = x'', reason = ?, updated_at = ? \
             WHERE state IN ('opening', 'prepared', 'closing', 'aborting')",
        );
        self.block(query.bind(reason.to_owned()).bind(now()).execute(&self.pool))?;
        Ok(())
    }
}
