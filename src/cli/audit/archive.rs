//! `audit archive`: moves whole old segments to another directory.

use std::path::PathBuf;

use serde_json::json;

use super::source::Which;
use crate::{
    audit::{Event, archive},
    cli::{admin_audit, error::CliError, output::Output, state_dir},
};

const AFTER: &str = "\
The service may be running. What is left is checked and continued as before;
with the archive before it, `audit verify` checks all. The service does the same
by itself where its configuration names `[audit] archive`. The move is in the
administrators' log.

Example:
  stationmaster audit archive --to /var/archive/stationmaster --keep 4
  stationmaster audit verify /var/archive/stationmaster /var/lib/stationmaster/audit \\
      --key audit.pem";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The directory of the archive: the segments go to `service` or `officer` below it
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// How many segments stay: at least 2
    #[arg(long, value_name = "NUMBER", default_value_t = 4)]
    keep: u64,
    /// Whose log
    #[arg(long, value_enum, default_value = "service")]
    log: Which,
    #[command(flatten)]
    place: state_dir::StateDirArgs,
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let office = args.place.open()?;
    let log = args.log.directory();
    let old = archive::movable(&office.audit.join(log), args.keep)?;
    let to = args.to.join(log);
    if let (Some((first, _)), Some((last, _))) = (old.first(), old.last()) {
        let entry = admin_audit::entry(Event::SegmentsArchived, "audit archive").with("log", log).with("first", *first);
        let entry = entry.with("last", *last).with("to", to.to_string_lossy());
        admin_audit::carry_out(&office.audit, entry, || old.iter().try_for_each(|(_, path)| archive::move_segment(path, &to)))?;
    }
    let moved: Vec<_> = old.iter().map(|(number, _)| number).collect();
    output.result(&json!({ "to": to, "segments": moved }), || match moved.len() {
        0 => "Nothing to move: no more segments than are to stay.\n".to_owned(),
        count => format!("Moved {count} segments to {}\n", to.display()),
    });
    Ok(())
}
