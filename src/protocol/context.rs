//! Context of every step: the caller, the call, the station's keys, the rules in force, and the errors.

pub mod call_context;
pub mod caller;
pub mod error;
pub mod key_errors;
pub mod rule_log;
pub mod rules;
pub mod station_key;
