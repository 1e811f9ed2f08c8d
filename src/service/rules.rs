//! Converts the outcome of a rule to the wire format.

use stationmaster_proto as pb;
use stationmaster_train::rule::Outcome;

/// Returns the outcome as responses express it.
pub(super) fn outcome(outcome: Outcome) -> pb::RuleOutcome {
    match outcome {
        Outcome::Checked => pb::RuleOutcome::Checked,
        Outcome::Relaxed => pb::RuleOutcome::Relaxed,
        Outcome::NotCheckable => pb::RuleOutcome::NotCheckable,
        Outcome::Broken => pb::RuleOutcome::Broken,
    }
}
