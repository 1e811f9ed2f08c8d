//! Database of runs and their states, in an embedded SQLite (WAL, every commit synced).
//!
//! ```text
//! opening ──► prepared ──► closing ──► completed ──► (released: the stop is free once more)
//!    │          │  ▲          │
//!    ▼          ▼  └──────────┘ (cut off)
//!  failed    aborting ──► aborted
//! ```
//!
//! A state that ends in `-ing` is an intent: it is written before anything is changed outside, so that a start after a crash knows
//! what to complete or to roll back. The service writes steps; an administrator's command may abandon a prepared run or release a
//! completed one while the service runs. Only this module uses sqlx.

pub mod admin;
mod audit;
pub mod backup;
mod catch_up;
mod error;
mod facts;
mod prune;
pub mod queries;
mod record;
mod row;
mod run;
mod schema;
mod session;
#[cfg(test)]
mod tests;
pub mod transitions;

pub use audit::LogOf;
pub use error::LedgerError;
pub use prune::Pruned;
pub use record::{FileDigest, Names, PostRunRecord, PreRunRecord, RuleNote};
pub use run::{NewRun, OpenInto, RerunPermission, Run, RunState};
pub use schema::UPGRADED;
pub use session::{Session, SessionCreator};
use sqlx::SqlitePool;
use tokio::runtime::Handle;

pub use self::{
    admin::{ReasonText, WhyError},
    queries::RunFilter,
};

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
