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
    ledger::ReasonText,
    state::{self, Part, StateParts},
};

const AFTER: &str = "\
A service does not start if a part of its state is missing, empty or from
another station while other parts show that it existed. Restore the part if
possible (`state restore`, a copy of the disk). Use this command for a part
that is permanently lost:
  ledger      trains that completed here can be opened again; a ledger that is
              older than the audit log keeps the runs that it has
  instance    objects of this service in the engine are no longer found; the
              ledger's own id is restored if it has one
  audit       a new log begins; its first record names the previous one
  first-seen  all keys are pinned again at first use
  key-states  every configured train key is active, also a retired one
  station     the directory belongs to the station that starts next
The reason is recorded in the administrators' audit log. No service may be
running on the directory.

Example:
  stationmaster state accept-loss audit --reason \"disk lost, ticket 4711\"";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The lost part: ledger, instance, audit, first-seen, key-states or station
    #[arg(value_name = "PART", value_parser = part)]
    part: Part,
    /// The reason; it is recorded in the audit log
    #[arg(long, value_name = "TEXT")]
    reason: ReasonText,
    #[command(flatten)]
    state_dir: StateDirArgs,
}

fn part(name: &str) -> Result<Part, String> {
    let found = Part::ALL.into_iter().find(|part| part.name() == name);
    found.ok_or_else(|| format!("one of {}", Part::ALL.map(Part::name).join(", ")))
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let (state_dir, _lock) = args.state_dir.locked()?;
    let entry = admin_audit::entry(Event::StateLossAccepted, "state accept-loss");
    let entry = entry.with("part", args.part.name()).with("reason", args.reason.as_str());
    let parts = StateParts::new(&state_dir.directory, &state_dir.audit, state_dir.station.as_deref());
    state_dir.carry_out(entry, || state_dir.handle().block_on(state::accept_loss(&parts, args.part)))?;
    let value = json!({ "state": state_dir.directory, "part": args.part.name(), "loss": args.part.loss() });
    output.result(&value, || {
        let [state, part] = [state_dir.directory.display().to_string(), args.part.to_string()];
        fields(&[("State", state), ("Lost part", part)]) + &format!("warning: {}\n", args.part.loss())
    });
    Ok(())
}
