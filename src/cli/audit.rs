//! `audit tail|show|export|verify`: what happened here, and whether the log is what was written.

mod export;
mod source;
mod verify;

use std::{collections::VecDeque, io, time::Duration};

use serde_json::json;

use super::{
    error::CliError,
    output::{Output, printable, raw, table},
};
use crate::audit::Record;
use source::{Filter, Source};

const AFTER: &str = "\
The service's records are in STATE/audit/service, those of the officer's commands in STATE/audit/officer (--log officer): lines of
JSON, each with the hash of the one before, and checkpoints signed by the audit's key in the token.

Examples:
  export STATIONMASTER_CONFIG=/etc/stationmaster/stationmaster.toml
  stationmaster audit tail -f
  stationmaster audit show --run 0196…                    # all that is known of a run
  stationmaster audit show --refusal 0196…                # the cause of a refusal
  stationmaster audit export --format ocsf -o audit.json
  stationmaster key export audit -o audit.pem             # keep it, and the head, somewhere else
  stationmaster audit verify /var/lib/stationmaster/audit/service --key audit.pem --expect-head 1234:9f3c…";

#[derive(Debug, clap::Subcommand)]
#[command(after_help = AFTER)]
pub(super) enum Command {
    /// The last records
    Tail(Tail),
    /// Records of a run, a train, a principal, a key, a refusal
    Show(Show),
    /// Records for other programs: JSON lines as they are, or OCSF API Activity
    Export(export::Args),
    /// Check a log, offline: with nothing but the files and a public key
    Verify(verify::Args),
}

#[derive(Debug, clap::Args)]
pub(super) struct Tail {
    /// How many
    #[arg(short = 'n', long = "lines", value_name = "NUMBER", default_value_t = 20)]
    lines: usize,
    /// Go on with records as they are written
    #[arg(short = 'f', long)]
    follow: bool,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    filter: Filter,
}

pub(super) fn run(command: Command, output: Output) -> Result<super::error::Exit, CliError> {
    match command {
        Command::Tail(args) => tail(&args, output).map(|()| super::error::Exit::Done),
        Command::Show(args) => show(&args, output).map(|()| super::error::Exit::Done),
        Command::Export(args) => export::run(&args, output).map(|()| super::error::Exit::Done),
        Command::Verify(args) => verify::run(&args, output),
    }
}

fn show(args: &Show, output: Output) -> Result<(), CliError> {
    let mut found = Vec::new();
    args.source.each(|_, record| {
        if args.filter.takes(&record) {
            found.push(record);
        }
        Ok(())
    })?;
    print(&found, output);
    Ok(())
}

fn tail(args: &Tail, output: Output) -> Result<(), CliError> {
    let mut last = VecDeque::new();
    let mut place = args.source.each(|_, record| {
        if args.filter.takes(&record) {
            last.push_back(record);
            if last.len() > args.lines {
                last.pop_front();
            }
        }
        Ok(())
    })?;
    if !args.follow {
        print(last.make_contiguous(), output);
        return Ok(());
    }
    let line = |record: &Record| {
        let text = if output.is_json() { serde_json::to_string(record).unwrap_or_default() } else { row(record).join("  ") };
        raw(format!("{text}\n").as_bytes())
    };
    let gone = |error: io::Error| CliError::other(format!("cannot write: {error}"));
    last.iter().try_for_each(line).map_err(gone)?;
    loop {
        std::thread::sleep(Duration::from_millis(500));
        place = args
            .source
            .after(place, |_, record| if args.filter.takes(&record) { line(&record).map_err(gone) } else { Ok(()) })?;
    }
}

fn print(records: &[Record], output: Output) {
    output.result(&json!({ "records": records }), || {
        if records.is_empty() {
            return "No such record.\n".to_owned();
        }
        let header = ["SEQ", "TIME", "EVENT", "PRINCIPAL", "RPC", "WHAT", "OUTCOME"];
        table(&header, records.iter().map(row).collect())
    });
}

/// A record in one line.
fn row(record: &Record) -> Vec<String> {
    let entry = &record.entry;
    let or_dash = |text: Option<&String>| text.map_or_else(|| "-".to_owned(), |text| printable(text));
    let mut what = Vec::new();
    what.extend(entry.operation.iter().map(|operation| printable(operation)));
    what.extend(entry.key.iter().map(|key| format!("with {}", printable(&key.label))));
    what.extend(entry.train.iter().map(|train| format!("train {} stop {}", printable(&train.id), train.stop)));
    what.extend(entry.run.iter().map(|run| format!("run {}", printable(run))));
    what.extend(entry.refusal_id.iter().map(|id| format!("refusal {}", printable(id))));
    what.extend(entry.detail.iter().map(|detail| printable(detail)));
    for name in ["reason", "count", "size", "allowed", "revoked", "added", "removed"] {
        what.extend(entry.about.get(name).map(|value| printable(&format!("{name} {value}"))));
    }
    vec![
        record.seq.to_string(),
        record.time.get(..19).unwrap_or(&record.time).to_owned(),
        entry.event.name(),
        or_dash(entry.principal.as_ref()),
        or_dash(entry.rpc.as_ref()),
        if what.is_empty() { "-".to_owned() } else { what.join(", ") },
        or_dash(entry.outcome.as_ref()),
    ]
}
