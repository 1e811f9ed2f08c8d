//! Tests of the keystore on a real SoftHSM, one property per test.

mod administration;
mod operations;
mod pins;
mod remote;
pub(crate) mod support;
