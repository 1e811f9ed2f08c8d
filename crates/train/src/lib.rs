//! Formats and rules of the Personal Health Train's security protocol: config, route, digests, signatures, envelopes.
//!
//! The module is pure: no I/O handles, no async, no PKCS#11, no protobuf.
//!
//! From bytes to trust: [`json`] parses untrusted text, [`config`] reads it as a `train_config.json`, [`route`] finds this
//! station's stop, [`names`] orders the files, [`digest`] hashes them, [`verify`] verifies digests and signatures, and
//! [`proof`] reports what can be verified without a private key.
//!
//! From a run to the next stop: [`envelope`] seals files, [`keys`] wraps the envelope key, [`seal`] writes the next config.

pub mod config;
pub mod digest;
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
pub mod wire;
#[cfg(test)]
mod wycheproof_tests;

pub use python::Integer;
pub use wire::v1::envelope;
