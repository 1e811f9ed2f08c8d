//! What every step has: the station, the call it answers, its keys, and its errors.

pub mod audited_keys;
pub mod caller;
pub mod error;
pub mod station;
