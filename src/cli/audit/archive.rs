//! `audit archive`: moves whole old segments to another directory.

use std::path::PathBuf;

use serde_json::json;

use super::source::LogName;
use crate::{
    audit::{Event, archive},
    cli::{admin_audit, error::CliError, output::Output, state_dir},
};

const AFTER: &str = "\
The service may be running. The remaining log is verified and continued as
before; with the archive before it, `audit verify` verifies everything. The
service archives automatically if its configuration sets `[audit] archive`. The
move is recorded in the administrators' log.

Example:
  stationmaster audit archive --to /var/archive/stationmaster --keep 4
  stationmaster audit verify /var/archive/stationmaster /var/lib/stationmaster/audit \\
      --key audit.pem";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The directory of the archive: segments are moved to `service` or `officer` in it
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Number of segments that are not moved: at least 2
    #[arg(long, value_name = "NUMBER", default_value_t = 4)]
    keep: u64,
    /// The log
    #[arg(long, value_enum, default_value = "service")]
    log: LogName,
    #[command(flatten)]
    state_dir: state_dir::StateDirArgs,
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let state_dir = args.state_dir.open()?;
    let log = args.log.directory();
    let old = archive::movable(&state_dir.audit.join(log), args.keep)?;
    let to = args.to.join(log);
    if let (Some((first, _)), Some((last, _))) = (old.first(), old.last()) {
        let entry = admin_audit::entry(Event::SegmentsArchived, "audit archive").with("log", log).with("first", *first);
        let entry = entry.with("last", *last).with("to", to.to_string_lossy());
        admin_audit::carry_out(&state_dir.audit, entry, || {
            old.iter().try_for_each(|(_, path)| archive::move_segment(path, &to))
        })?;
    }
    let moved: Vec<_> = old.iter().map(|(number, _)| number).collect();
    output.result(&json!({ "to": to, "segments": moved }), || match moved.len() {
        0 => "Nothing to move: there are no more segments than --keep.\n".to_owned(),
        count => format!("Moved {count} segments to {}\n", to.display()),
    });
    Ok(())
}
