//! Output of findings: a tree for people, nested objects for programs.

use serde_json::{Value, json};

use crate::{
    checks::{CheckNode, CheckState},
    cli::output::printable,
};

/// Returns the name of a node for programs and in `docs/doctor.md`: `unix-socket`.
pub(in crate::cli) fn name(what: &str) -> String {
    what.to_lowercase().replace(' ', "-")
}

/// Returns a node's state, with what is below it: `success`, `warning`, `failure` or `skipped`.
pub(in crate::cli) fn state(finding: &CheckNode) -> &'static str {
    match finding.state {
        _ if finding.fails() => "failure",
        _ if finding.warns() => "warning",
        CheckState::Skipped => "skipped",
        _ => "success",
    }
}

pub(in crate::cli) fn json(finding: &CheckNode) -> Value {
    json!({
        "name": name(finding.what),
        "subject": finding.subject,
        "state": state(finding),
        "cause": (!finding.note.is_empty()).then_some(&finding.note),
        "remedy": remedy(finding),
        "nodes": finding.below.iter().map(json).collect::<Vec<_>>(),
    })
}

/// Returns the remedy, if there is anything to correct.
fn remedy(finding: &CheckNode) -> Option<&String> {
    finding.remedy.as_ref().filter(|_| matches!(finding.state, CheckState::Warned | CheckState::NotYet | CheckState::Wrong))
}

pub(in crate::cli) fn people(findings: &[CheckNode]) -> String {
    let mut text = String::new();
    for finding in findings {
        write(finding, 0, &mut text);
    }
    text
}

fn write(finding: &CheckNode, depth: usize, text: &mut String) {
    let mark = match state(finding) {
        "failure" => "FAIL",
        "warning" => "warn",
        "skipped" => "skip",
        _ => "ok  ",
    };
    let subject = finding.subject.as_ref().map(|subject| format!(" {}", printable(subject))).unwrap_or_default();
    let note = if finding.note.is_empty() { String::new() } else { format!(": {}", printable(&finding.note)) };
    let indent = "  ".repeat(depth);
    *text += &format!("{indent}{mark} {}{subject}{note}\n", name(finding.what));
    if let Some(remedy) = remedy(finding) {
        *text += &format!("{indent}     -> {}\n", printable(remedy));
    }
    for below in &finding.below {
        write(below, depth + 1, text);
    }
}
