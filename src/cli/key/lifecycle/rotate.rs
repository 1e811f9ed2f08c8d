//! `key rotate`: replaces a train key by another one, with overlap.

use jiff::Timestamp;

use super::{StationState, refused, report, retired, set};
use crate::{
    cli::{
        error::CliError,
        output::Output,
        token_access::{DirectArgs, PinArgs},
    },
    key_states::{KeyState, KeyStateEntry, parse_time},
    ledger::ReasonText,
};

const AFTER: &str = "\
NEW becomes active, and `key export` without a label publishes it. OLD becomes
superseded: it opens and seals only trains whose own route entry names it, until
--until or `key retire`. A running service notices the change, and the date, at
the next use of a key. The same command with another --until moves the date.

A date is 00:00 UTC of that day; a time is written as in RFC 3339.

Example:
  stationmaster key rotate station-1 --to station-1-2027 --until 2027-03-01 \\
      --reason \"yearly\" --config /etc/stationmaster/stationmaster.toml";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The label of the train key that is replaced
    old: String,
    /// The label of the train key that replaces it
    #[arg(long = "to", value_name = "LABEL")]
    new: String,
    /// When the old key is retired
    #[arg(long, value_name = "DATE", value_parser = parse_time)]
    until: Option<Timestamp>,
    /// The reason; it is recorded in the audit log
    #[arg(long, value_name = "TEXT")]
    reason: ReasonText,
    #[command(flatten)]
    direct: DirectArgs,
    #[command(flatten)]
    pin: PinArgs,
}

pub(in crate::cli) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let (old, new) = (args.old.as_str(), args.new.as_str());
    if old == new {
        return Err(CliError::usage("a key is not replaced by itself").with_hint("--to names the new key"));
    }
    if args.until.is_some_and(|until| until <= Timestamp::now()) {
        return Err(CliError::usage("--until is in the past").with_hint("`key retire` ends the use of a key now"));
    }
    let station = StationState::with_token(&args.direct, &args.pin)?;
    let (of_old, of_new) = (station.train_key(old)?.id, station.train_key(new)?.id);
    if of_old == of_new {
        return Err(refused(format!("{old:?} and {new:?} are labels of one key"), "`key generate` makes a new key"));
    }
    let entry = StationState::record("key rotate", old)
        .with("state", KeyState::Superseded.name())
        .with("successor", new)
        .with("reason", args.reason.as_str());
    let entry = args.until.iter().fold(entry, |entry, until| entry.with("until", until.to_string()));
    station.change(
        entry,
        |states| {
            let now = Timestamp::now();
            for label in [old, new] {
                if states.state(label, now) == KeyState::Retired {
                    return Err(retired(label));
                }
            }
            if states.state(old, now) == KeyState::PreActive {
                return Err(refused(
                    format!("the train key {old:?} was never active"),
                    "`key activate` puts a first key into use",
                ));
            }
            let reason = Some(args.reason.as_str().to_owned());
            let superseded = KeyStateEntry {
                until: args.until,
                successor: Some(new.to_owned()),
                reason: reason.clone(),
                ..KeyStateEntry::new(KeyState::Superseded, now)
            };
            set(states, old, superseded)?;
            set(states, new, KeyStateEntry { reason, ..KeyStateEntry::new(KeyState::Active, now) })
        },
        || Ok(()),
    )?;
    report(&station, &[old, new], output)
}
