//! Converts errors of sqlx and result codes of SQLite.

use sqlx::migrate::MigrateError;

use crate::ledger::LedgerError;

impl From<sqlx::Error> for LedgerError {
    fn from(error: sqlx::Error) -> Self {
        // SQLite's result codes: the lowest byte; the other bytes are details.
        const CORRUPT: u32 = 11;
        const FULL: u32 = 13;
        const NOT_A_DATABASE: u32 = 26;
        // SQLite returns this in place of "full" when it cannot enlarge its shared memory.
        const SHARED_MEMORY_SIZE: u32 = 4874;
        let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
        if code == Some(SHARED_MEMORY_SIZE) {
            return Self::DiskFull;
        }
        match code.map(|code| code & 0xff) {
            Some(FULL) => Self::DiskFull,
            Some(CORRUPT | NOT_A_DATABASE) => Self::Damaged(error.to_string()),
            _ => Self::Database(error.into()),
        }
    }
}

impl From<MigrateError> for LedgerError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) => error.into(),
            other => Self::Migration(other.into()),
        }
    }
}
