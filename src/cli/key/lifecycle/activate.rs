//! `key activate`: puts a train key into use.

use jiff::Timestamp;

use super::{StationState, refused, report, retired, set};
use crate::{
    cli::{
        error::CliError,
        output::Output,
        token_access::{DirectArgs, PinArgs},
    },
    key_states::{KeyState, KeyStateEntry},
    ledger::ReasonText,
};

const AFTER: &str = "\
The key becomes active: trains whose own route entry names it are opened and
sealed, and `key export` without a label publishes it. It is refused while
another train key is active: `key rotate` replaces that one. A running service
notices the change at the next use of a key.

Example:
  stationmaster key activate station-1 \\
      --config /etc/stationmaster/stationmaster.toml";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The train key's label
    label: String,
    /// The reason; it is recorded in the audit log
    #[arg(long, value_name = "TEXT")]
    reason: Option<ReasonText>,
    #[command(flatten)]
    direct: DirectArgs,
    #[command(flatten)]
    pin: PinArgs,
}

pub(in crate::cli) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let station = StationState::with_token(&args.direct, &args.pin)?;
    station.train_key(&args.label)?;
    let label = args.label.as_str();
    let reason = args.reason.as_ref().map(|reason| reason.as_str().to_owned());
    let entry = StationState::record("key activate", label).with("state", KeyState::Active.name());
    let entry = reason.iter().fold(entry, |entry, reason| entry.with("reason", reason.as_str()));
    let labels = station.train_labels(&station.states()?)?;
    station.change(
        entry,
        |states| {
            let now = Timestamp::now();
            if states.state(label, now) == KeyState::Retired {
                return Err(retired(label));
            }
            if let Some(other) = labels.iter().find(|other| *other != label && states.state(other, now) == KeyState::Active) {
                return Err(refused(
                    format!("the train key {other:?} is active"),
                    "`key rotate OLD --to NEW --reason TEXT` replaces it",
                ));
            }
            set(states, label, KeyStateEntry { reason, ..KeyStateEntry::new(KeyState::Active, now) })
        },
        || Ok(()),
    )?;
    report(&station, &[label], output)
}
