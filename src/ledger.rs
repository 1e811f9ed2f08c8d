//! Database of runs and their states.
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
//! completed one while the service runs.
//!
//! The files of this module are what the ledger keeps, and know no database. [`Ledger`] is one in SQLite: [`sqlite`] alone has SQL
//! and names sqlx.

mod audit_log;
mod error;
mod reason;
mod record;
mod run;
mod run_id;
mod session;
mod sqlite;

pub use self::{
    audit_log::LogOf,
    error::LedgerError,
    reason::{ReasonError, ReasonText},
    record::{FileDigest, Names, PostRunRecord, PreRunRecord, RuleNote},
    run::{NewRun, OpenInto, Pruned, RerunPermission, Run, RunFilter, RunState},
    run_id::RunId,
    session::{Session, SessionCreator},
    sqlite::Ledger,
};

/// The fact of a ledger that an older version wrote, which has no other facts yet.
pub const UPGRADED: &str = "upgraded";
