//! The keystore on a real SoftHSM, one promise per test.

mod administration;
mod operations;
mod pins;
mod remote;
pub(crate) mod support;
