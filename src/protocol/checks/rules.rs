//! What this station holds trains to, as its configuration says.

use std::collections::BTreeSet;

use crate::{
    image::ImageError,
    train::rule::{Rule, RuleSet},
};

/// What trains are held to.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The rules that hold.
    pub rules: RuleSet,
    /// Whether unlisted immutable files refuse a train, in place of being left out.
    pub refuse_unlisted: bool,
    /// Names directly below `/opt` that a train may have besides its own and its base's.
    pub opt_allow: BTreeSet<String>,
}

/// The rules that have no meaning where the keys in the train are believed.
pub(in crate::protocol) const OF_TRUST: [Rule; 3] = [Rule::CreatorPinned, Rule::StationsPinned, Rule::WrapForTrusted];

/// A refusal under a rule's name.
pub(in crate::protocol) fn broken(rule: Rule, detail: impl Into<String>) -> ImageError {
    ImageError::Policy { rule: rule.name(), detail: detail.into() }
}
