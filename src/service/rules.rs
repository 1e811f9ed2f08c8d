//! What became of a rule, on the wire.

use crate::{pb, train::rule::Outcome};

/// As answers say it.
pub(super) fn outcome(outcome: Outcome) -> pb::RuleOutcome {
    match outcome {
        Outcome::Checked => pb::RuleOutcome::Checked,
        Outcome::Relaxed => pb::RuleOutcome::Relaxed,
        Outcome::NotCheckable => pb::RuleOutcome::NotCheckable,
        Outcome::Broken => pb::RuleOutcome::Broken,
    }
}
