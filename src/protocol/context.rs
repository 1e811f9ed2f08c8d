//! Context of every step: the station, the caller, the audited keys, and the errors.

pub mod audited_keys;
pub mod caller;
pub mod error;
pub mod station;
