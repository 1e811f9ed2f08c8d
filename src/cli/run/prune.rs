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
    ledger::{Pruned, Reason},
};

const AFTER: &str = "\
Of runs that ended before then, those that failed or were aborted are removed;
of completed ones the digests of files, the answers and the warnings are
dropped. What keeps a train from running twice stays: the run itself, and the
session with its train, creator and stop. Runs of which something still holds
plaintext stay whole.

The configuration of a train is never kept longer than its run is open. The
ledger's file does not get smaller: what is freed is used again. The service may
be running.

Example:
  stationmaster run prune --older-than 365 --reason \"retention: one year\"";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// Only runs that ended so many days ago, or earlier
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(..=100_000))]
    older_than: u32,
    /// Why; it is kept in the audit
    #[arg(long, value_name = "TEXT")]
    reason: Reason,
    /// Only say how much there is
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    place: StateDirArgs,
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let (office, ledger) = args.place.ledger()?;
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
        office.carry_out(entry, || ledger.prune(before))?
    };
    let value = json!({ "removed": pruned.removed, "shortened": pruned.shortened, "dry_run": args.dry_run });
    output.result(&value, || {
        let said = |done: &'static str, would: &'static str| if args.dry_run { would } else { done };
        fields(&[
            (said("Removed", "Would be removed"), format!("{} failed and aborted runs", pruned.removed)),
            (said("Shortened", "Would be shortened"), format!("{} completed runs", pruned.shortened)),
        ])
    });
    Ok(())
}
