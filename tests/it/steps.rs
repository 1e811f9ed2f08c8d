//! The steps of the protocol, as station software calls them.

#[cfg(feature = "crash-points")]
mod crash;
pub mod hostile;
pub mod idempotency;
pub mod interop;
pub mod open_into;
pub mod refusals;
pub mod results;
pub mod rule_reports;
pub mod run_totals;
pub mod verify;
pub mod weaknesses;
