//! Tests of the keystore on real tokens, one property per test: `suite` runs on every kind, the others on SoftHSM.

mod administration;
mod operations;
mod pins;
mod remote;
pub(crate) mod several_tokens;
mod suite;
pub(crate) mod support;
mod wycheproof;
