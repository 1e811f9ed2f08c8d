//! `train inspect|pre-run|post-run|abort`.

mod abort;
mod inspect;
mod post_run;
mod pre_run;

use serde_json::{Value, json};

use super::{client, error::CliError, output::Output};
use crate::{pb, train::rule::Outcome};

const EXAMPLES: &str = "\
Examples:
  stationmaster train inspect harbor.example/train:latest
  stationmaster train pre-run harbor.example/train:latest --output json | tail -1 | jq -r .run_id
  docker run harbor.example/train:latest ...
  stationmaster train post-run RUN_ID
  stationmaster train abort RUN_ID

Each of them is safe to repeat: the same call again gets the same answer.";

#[derive(Debug, clap::Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum Command {
    /// What a train says of itself; nothing is verified, no key is used
    Inspect(inspect::Args),
    /// Verify a train and open it for the run
    PreRun(pre_run::Args),
    /// Seal and sign the results of a run for the next stop
    PostRun(post_run::Args),
    /// End a run without results: the sealed image gets its name back
    Abort(abort::Args),
}

pub(super) fn run(command: Command, output: Output) -> Result<(), CliError> {
    match command {
        Command::Inspect(args) => client::call(inspect::run(args, output)),
        Command::PreRun(args) => client::call(pre_run::run(args, output)),
        Command::PostRun(args) => client::call(post_run::run(args, output)),
        Command::Abort(args) => client::call(abort::run(args, output)),
    }
}

/// What became of each rule, for programs.
fn rules_value(rules: &[pb::RuleReport]) -> Value {
    rules.iter().map(|rule| json!({ "rule": rule.rule, "outcome": outcome_name(rule), "note": rule.note })).collect()
}

fn outcome_name(rule: &pb::RuleReport) -> &'static str {
    match rule.outcome() {
        pb::RuleOutcome::Checked => Outcome::Checked.name(),
        pb::RuleOutcome::Relaxed => Outcome::Relaxed.name(),
        pb::RuleOutcome::NotCheckable => Outcome::NotCheckable.name(),
        pb::RuleOutcome::Broken => Outcome::Broken.name(),
        pb::RuleOutcome::Unspecified => "unknown",
    }
}

/// The same for people, on one line.
fn rules_line(rules: &[pb::RuleReport]) -> String {
    if rules.is_empty() {
        return String::new();
    }
    let of = |outcome| rules.iter().filter(move |rule| rule.outcome() == outcome);
    let relaxed: Vec<&str> = of(pb::RuleOutcome::Relaxed).map(|rule| rule.rule.as_str()).collect();
    let named = if relaxed.is_empty() { String::new() } else { format!(" ({})", relaxed.join(", ")) };
    format!(
        "{} checked, {} relaxed{named}, {} not checkable",
        of(pb::RuleOutcome::Checked).count(),
        relaxed.len(),
        of(pb::RuleOutcome::NotCheckable).count()
    )
}

/// What a person should know, below the result.
fn notes(warnings: &[String], held_by: &[String]) -> String {
    let mut text = String::new();
    for warning in warnings {
        text += &format!("warning: {}\n", super::output::printable(warning));
    }
    for container in held_by {
        text += &format!("warning: container {container} still holds a plaintext image: remove it\n");
    }
    text
}
