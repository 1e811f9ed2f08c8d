//! Trust: a train is accepted only with keys that the station trusts, and its rules are reported by name.

mod commands;
mod file;
mod first_use;
mod rotation;
mod rules;
pub mod untrusted_keys;

use stationmaster_proto::{RuleOutcome, RuleReport};
use stationmaster_train::{config::HexText, keys::PublicKey};

pub use self::untrusted_keys::{append, hex_pem, key, replace_creator};

/// The fingerprint of a key as routes carry it.
pub fn fingerprint(hex_pem: &str) -> String {
    PublicKey::from_hex_pem(&HexText::new(hex_pem)).expect("a key").fingerprint()
}

/// What a report says of a rule.
#[track_caller]
pub fn outcome(rules: &[RuleReport], rule: &str) -> RuleOutcome {
    let found = rules.iter().find(|report| report.rule == rule);
    found.unwrap_or_else(|| panic!("{rule} is not reported: {rules:?}")).outcome()
}
