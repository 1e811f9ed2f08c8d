//! The rules that this station enforces on trains, from its configuration.

use std::collections::BTreeSet;

use stationmaster_train::rule::{Rule, RuleSet};

/// The requirements for trains.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The rules in force.
    pub rules: RuleSet,
    /// Whether unlisted immutable files cause a refusal instead of being left out.
    pub refuse_unlisted: bool,
    /// Names directly below `/opt` that a train may have in addition to its own and those of its base.
    pub opt_allow: BTreeSet<String>,
}

/// The rules that do not apply where the keys in the train are trusted.
pub(in crate::protocol) const OF_TRUST: [Rule; 3] = [Rule::CreatorPinned, Rule::StationsPinned, Rule::WrapForTrusted];
