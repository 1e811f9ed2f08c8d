//! Output of the rules' outcomes: a table for people, a list for programs.

use serde_json::{Value, json};
use stationmaster_proto::{RuleOutcome, RuleReport};
use stationmaster_train::rule::{Enforcement, Outcome, Report, Rule};

use crate::cli::output::{printable, table};

/// The outcome of a rule, for output.
pub(in crate::cli) struct RuleRow {
    rule: String,
    outcome: &'static str,
    note: String,
}

/// Returns the rules of a response.
pub(in crate::cli) fn of_answer(rules: &[RuleReport]) -> Vec<RuleRow> {
    let outcome = |rule: &RuleReport| match rule.outcome() {
        RuleOutcome::Checked => Outcome::Checked.name(),
        RuleOutcome::Relaxed => Outcome::Relaxed.name(),
        RuleOutcome::NotCheckable => Outcome::NotCheckable.name(),
        RuleOutcome::Broken => Outcome::Broken.name(),
        RuleOutcome::Unspecified => "unknown",
    };
    rules.iter().map(|rule| RuleRow { rule: rule.rule.clone(), outcome: outcome(rule), note: rule.note.clone() }).collect()
}

/// Returns the rules of a local report.
pub(in crate::cli) fn of_report(report: &Report) -> Vec<RuleRow> {
    let row = |finding: &stationmaster_train::rule::Finding| RuleRow {
        rule: finding.rule.name().to_owned(),
        outcome: finding.outcome.name(),
        note: finding.note.clone(),
    };
    report.findings().into_iter().map(row).collect()
}

/// Returns the names of broken rules.
pub(in crate::cli) fn broken(rows: &[RuleRow]) -> Vec<String> {
    rows.iter().filter(|row| row.outcome == Outcome::Broken.name()).map(|row| printable(&row.rule)).collect()
}

pub(in crate::cli) fn value(rows: &[RuleRow]) -> Value {
    rows.iter().map(|row| json!({ "rule": row.rule, "outcome": row.outcome, "note": row.note })).collect()
}

/// Formats all rules on one line.
pub(in crate::cli) fn line(rows: &[RuleRow]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let of = |outcome: Outcome| rows.iter().filter(move |row| row.outcome == outcome.name());
    let relaxed: Vec<String> =
        of(Outcome::Relaxed).filter(|row| word(&row.rule, row.outcome) == row.outcome).map(|row| printable(&row.rule)).collect();
    let named = if relaxed.is_empty() { String::new() } else { format!(" ({})", relaxed.join(", ")) };
    let (checked, not_checkable) = (of(Outcome::Checked).count(), of(Outcome::NotCheckable).count());
    format!("{checked} checked, {} relaxed{named}, {not_checkable} not checkable", relaxed.len())
}

/// Returns the outcome for people: an optional rule that is off is "not demanded", not "relaxed".
pub(in crate::cli) fn word<'a>(rule: &str, outcome: &'a str) -> &'a str {
    let is_optional = Rule::from_name(rule).is_some_and(|rule| rule.standing() == Enforcement::Optional);
    if is_optional && outcome == Outcome::Relaxed.name() { "not demanded" } else { outcome }
}

pub(in crate::cli) fn people(rows: &[RuleRow]) -> String {
    let row = |row: &RuleRow| vec![printable(&row.rule), word(&row.rule, row.outcome).to_owned(), printable(&row.note)];
    table(&["RULE", "OUTCOME", "NOTE"], rows.iter().map(row).collect())
}
