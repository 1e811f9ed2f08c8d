//! The outcome of each rule, written by the checks themselves while a step runs. A step that fails reports none.

use std::sync::{Mutex, MutexGuard, PoisonError};

use stationmaster_train::rule::{Enforcement, Outcome, Report, Rule};

/// The outcomes so far.
#[derive(Debug, Default)]
pub(in crate::protocol) struct RuleLog(Mutex<Report>);

impl RuleLog {
    /// Notes that a check has passed.
    pub(crate) fn checked(&self, rule: Rule) {
        self.checked_as(rule, "");
    }

    /// Notes that a check has passed, and its extent.
    pub(crate) fn checked_as(&self, rule: Rule, note: &str) {
        self.report_mut().note(rule, Outcome::Checked, note);
    }

    /// Notes that a check did not run, because the configuration does not demand it.
    pub(crate) fn relaxed(&self, rule: Rule) {
        // Optional rules are off by default: this is no weakening and must not be reported as one.
        let note = if rule.standing() == Enforcement::Optional { "not demanded here" } else { "" };
        self.report_mut().note(rule, Outcome::Relaxed, note);
    }

    /// Notes a rule that was enforced by the way in which something was done, or was relaxed.
    pub(crate) fn enforced(&self, rule: Rule, is_enforced: bool) {
        if is_enforced { self.checked(rule) } else { self.relaxed(rule) }
    }

    /// As [`RuleLog::enforced`], with the extent of the check.
    pub(crate) fn enforced_as(&self, rule: Rule, is_enforced: bool, note: &str) {
        if is_enforced { self.checked_as(rule, note) } else { self.relaxed(rule) }
    }

    /// Notes that there was nothing to check.
    pub(crate) fn not_checkable(&self, rule: Rule, note: &str) {
        self.report_mut().note(rule, Outcome::NotCheckable, note);
    }

    /// Replaces the note of a rule.
    pub(crate) fn explain(&self, rule: Rule, note: impl Into<String>) {
        self.report_mut().explain(rule, note);
    }

    /// Returns the report, with the rules that the format does not allow to check.
    pub(crate) fn report(&self) -> Report {
        self.report_mut().clone().with_not_checkable()
    }

    fn report_mut(&self) -> MutexGuard<'_, Report> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
