//! The train's formats and rules. Pure: no I/O handles of ours, no async, no PKCS#11, no protobuf.
//!
//! From bytes to trust: [`json`] reads untrusted text, [`config`] gives it the shape of a `train_config.json`, [`route`]
//! finds this station's stop, [`names`] orders the files, [`digest`] hashes them, [`verify`] decides whether to believe,
//! [`proof`] tells anybody what can be told without a key.
//! From a run to the next stop: [`envelope`] seals files, [`keys`] wraps the envelope key, [`seal`] writes the next config.

pub mod config;
pub mod digest;
pub mod envelope;
pub mod json;
pub mod keys;
pub mod names;
pub mod proof;
mod python;
pub mod route;
pub mod rule;
pub mod seal;
pub mod selection;
#[cfg(test)]
mod vectors;
pub mod verify;

pub use python::Integer;
