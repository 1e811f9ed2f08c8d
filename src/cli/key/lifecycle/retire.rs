//! `key retire`: ends the use of a train key.

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
A retired key is never used again: trains whose own route entry names it are
refused. The private key stays in the token. While runs under the key are open,
the command is refused and names them. With --date the key is retired at that
time by a running service, whether runs are open or not. A date is 00:00 UTC of
that day; a time is written as in RFC 3339.

Examples:
  stationmaster key retire station-1 --reason \"replaced by station-1-2027\" \\
      --config /etc/stationmaster/stationmaster.toml
  stationmaster key retire station-1 --date 2027-03-01 --reason \"yearly\" \\
      --config /etc/stationmaster/stationmaster.toml";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The train key's label
    label: String,
    /// When the key is retired, instead of now
    #[arg(long, value_name = "DATE", value_parser = parse_time)]
    date: Option<Timestamp>,
    /// The reason; it is recorded in the audit log
    #[arg(long, value_name = "TEXT")]
    reason: ReasonText,
    #[command(flatten)]
    direct: DirectArgs,
    #[command(flatten)]
    pin: PinArgs,
}

pub(in crate::cli) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    if args.date.is_some_and(|date| date <= Timestamp::now()) {
        return Err(CliError::usage("--date is in the past").with_hint("leave out --date to retire the key now"));
    }
    let station = StationState::with_token(&args.direct, &args.pin)?;
    let label = args.label.as_str();
    station.train_key(label)?;
    let entry =
        StationState::record("key retire", label).with("state", KeyState::Retired.name()).with("reason", args.reason.as_str());
    let entry = args.date.iter().fold(entry, |entry, date| entry.with("until", date.to_string()));
    let no_run_is_open = || if args.date.is_some() { Ok(()) } else { check_no_run_is_open(&station, label) };
    station.change(
        entry,
        |states| {
            no_run_is_open()?;
            let now = Timestamp::now();
            let reason = Some(args.reason.as_str().to_owned());
            let before = states.entry(label).cloned().unwrap_or_else(|| KeyStateEntry::new(KeyState::Active, now));
            let entry = match (before.at(now), args.date) {
                (KeyState::Retired, _) => return Err(retired(label)),
                (KeyState::PreActive, Some(_)) => {
                    return Err(refused(format!("the train key {label:?} is not active"), "leave out --date to retire it now"));
                }
                (_, None) => KeyStateEntry { reason, successor: before.successor, ..KeyStateEntry::new(KeyState::Retired, now) },
                (_, Some(date)) => KeyStateEntry { until: Some(date), reason, ..before },
            };
            set(states, label, entry)
        },
        // A run that began meanwhile is found here; one that begins later is refused the key.
        no_run_is_open,
    )?;
    report(&station, &[label], output)
}

fn check_no_run_is_open(station: &StationState, label: &str) -> Result<(), CliError> {
    let open = station.open_runs()?;
    let named: Vec<_> =
        open.iter().filter(|run| run.key_label == label).map(|run| format!("{} (train {})", run.id, run.train_id)).collect();
    if named.is_empty() {
        return Ok(());
    }
    Err(refused(
        format!(
            "{} under the train key {label:?} are open: {}",
            crate::cli::output::count(named.len() as u64, "run", "runs"),
            named.join(", ")
        ),
        "close them with `train post-run` or `train abort`, or give them up with `run abandon`; `--date` retires the key later",
    ))
}
