//! `run prune`: removes details of runs that ended long ago.

use serde_json::json;

use crate::{
    audit::Event,
    cli::{
        admin_audit,
        error::CliError,
        output::{Output, fields},
        state_dir::StateDirArgs,
    },
    ledger::{Pruned, ReasonText},
};

const AFTER: &str = "\
Deletes failed and aborted runs that ended before that time; of completed runs
the digests of files, the results of the steps and the warnings. The data that
prevents a train from running twice stays: the run itself, and the session with
its train, creator and stop. Runs of which a container still contains plaintext
stay complete.

The configuration of a train is stored only while its run is open. The ledger's
file does not shrink: freed space is reused. The service may be running.

Example:
  stationmaster run prune --older-than 365 --reason \"retention: one year\"";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// Only runs that ended at least this many days ago
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(..=100_000))]
    older_than: u32,
    /// The reason; it is recorded in the audit log
    #[arg(long, value_name = "TEXT")]
    reason: ReasonText,
    /// Only report what would be deleted
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    state_dir: StateDirArgs,
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let (state_dir, ledger) = args.state_dir.ledger()?;
    let before = jiff::Timestamp::now().as_second() - i64::from(args.older_than) * 86_400;
    let found = ledger.prunable(before)?;
    let pruned = if args.dry_run || found == Pruned::default() {
        found
    } else {
        let entry = admin_audit::entry(Event::RunsPruned, "run prune")
            .with("older_than_days", args.older_than)
            .with("removed", found.removed)
            .with("shortened", found.shortened)
            .with("reason", args.reason.as_str());
        state_dir.carry_out(entry, || ledger.prune(before))?
    };
    let value = json!({ "removed": pruned.removed, "shortened": pruned.shortened, "dry_run": args.dry_run });
    output.result(&value, || {
        let label = |done: &'static str, would: &'static str| if args.dry_run { would } else { done };
        fields(&[
            (label("Removed", "Would be removed"), format!("{} failed and aborted runs", pruned.removed)),
            (label("Shortened", "Would be shortened"), format!("{} completed runs", pruned.shortened)),
        ])
    });
    Ok(())
}
