//! The report of a step in the forms that its readers need.

use stationmaster_train::rule::{Enforcement, Outcome, Report};

use crate::{
    audit::RuleRef,
    ledger::RuleNote,
    protocol::{admission::station::Station, context::rules::OF_TRUST},
};

/// Returns the warnings about relaxed rules.
pub(in crate::protocol) fn warnings(station: &Station, report: &Report) -> Vec<String> {
    let mut warnings = Vec::new();
    let embedded = station.is_embedded();
    if embedded {
        warnings.push(EMBEDDED.to_owned());
    }
    for finding in report.findings() {
        let said = embedded && OF_TRUST.contains(&finding.rule);
        if finding.outcome == Outcome::Relaxed && finding.rule.standing() == Enforcement::Strict && !said {
            warnings.push(format!("the rule {} is relaxed here: {}", finding.rule.name(), finding.rule.text()));
        }
    }
    warnings
}

/// Warning of a station that trusts the keys in trains.
pub const EMBEDDED: &str = "NO KEY WAS COMPARED WITH ANYTHING: this station trusts the keys in the train itself (mode = embedded \
     in [trust]), so anyone can make a train that it runs and signs";

/// Returns rules and outcomes in the form of audit records.
pub(in crate::protocol) fn recorded(notes: &[RuleNote]) -> Vec<RuleRef> {
    notes.iter().map(|note| RuleRef { rule: note.rule.clone(), outcome: note.outcome.clone() }).collect()
}
