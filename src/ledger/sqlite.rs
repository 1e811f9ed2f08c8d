//! The ledger in an embedded SQLite: one file, WAL, every commit synced.
//!
//! All SQL is here. A ledger in another database is another module beside this one, with a `Ledger` of the same methods and the
//! same file names. What this one assumes, and another database has to provide in another way:
//!
//! * One process writes steps: the service, which holds the lock of the state directory. Which stops are busy, and that a run is
//!   not recovered twice at a time, it knows in memory.
//! * Writers exclude each other: a pool has one connection, and SQLite has one writer over all processes. So `MAX(number) + 1`
//!   within an insert is unique, and a command of an administrator waits for the service's transaction (`BUSY_TIMEOUT`).
//! * A state is changed only from the state that it was read in (`WHERE … AND state = ?`): a command may change a run meanwhile.
//! * The service polls for runs that a command abandoned; SQLite sends no notification to another process.
//! * Positions of the audit logs are commits of their own that do not wait for the disk; after a power loss one may be older.
//! * A backup is a file that the database writes itself (`VACUUM INTO`), and a restored ledger is a file that replaces another.
//! * A transaction is one statement.

mod admin;
mod audit_heads;
mod backup;
mod catch_up;
mod error;
mod facts;
mod prune;
mod queries;
mod row;
mod schema;
mod sessions;
#[cfg(test)]
mod tests;
mod transitions;

use sqlx::SqlitePool;
use tokio::runtime::Handle;

use crate::ledger::LedgerError;

/// The ledger. Cheap to clone. Its blocking functions must not be called from async code.
#[derive(Clone, Debug)]
pub struct Ledger {
    pool: SqlitePool,
    /// For the positions of the audit logs: its commits do not wait for the disk.
    heads: SqlitePool,
    handle: Handle,
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

impl Ledger {
    fn block<T>(&self, call: impl Future<Output = T>) -> T {
        self.handle.block_on(call)
    }
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, LedgerError> {
    serde_json::to_string(value).map_err(|e| LedgerError::Corrupt(e.to_string()))
}
