//! `state accept-loss`: continues without a part of the state that is lost.

use serde_json::json;

use crate::{
    audit::Event,
    cli::{
        admin_audit,
        error::CliError,
        output::{Output, fields},
        state_dir::StateDirArgs,
    },
    ledger::Reason,
    state::{self, Part, StateParts},
};

const AFTER: &str = "\
A service does not start when a part of its state is missing, empty or of
another station while its neighbours show that it was there. Put it back where
you can (`state restore`, a copy of the disk). This is for what is lost for
good:
  ledger      trains that were finished here are opened once more; a ledger
              that is older than the audit keeps the runs that it has
  instance    what the engine holds of this service is no longer found; the
              ledger's
              own id is written back where it has one
  audit       a new log begins; its first record names the one before
  first-seen  everybody is new again, and believed at first sight
  station     the directory belongs to the station that starts next
The reason is in the audit (the officer's log). No service may hold the
directory.

Example:
  stationmaster state accept-loss audit --reason \"disk lost, ticket 4711\"";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// What is lost: ledger, instance, audit, first-seen or station
    #[arg(value_name = "PART", value_parser = part)]
    part: Part,
    /// Why; it is kept in the audit
    #[arg(long, value_name = "TEXT")]
    reason: Reason,
    #[command(flatten)]
    place: StateDirArgs,
}

fn part(name: &str) -> Result<Part, String> {
    let found = Part::ALL.into_iter().find(|part| part.name() == name);
    found.ok_or_else(|| format!("one of {}", Part::ALL.map(Part::name).join(", ")))
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let (office, _lock) = args.place.held()?;
    let entry = admin_audit::entry(Event::StateLossAccepted, "state accept-loss");
    let entry = entry.with("part", args.part.name()).with("reason", args.reason.as_str());
    let parts = StateParts::new(&office.directory, &office.audit, office.station.as_deref());
    office.carry_out(entry, || office.handle().block_on(state::accept_loss(&parts, args.part)))?;
    let value = json!({ "state": office.directory, "part": args.part.name(), "loss": args.part.loss() });
    output.result(&value, || {
        let [state, part] = [office.directory.display().to_string(), args.part.to_string()];
        fields(&[("State", state), ("Given up", part)]) + &format!("warning: {}\n", args.part.loss())
    });
    Ok(())
}
