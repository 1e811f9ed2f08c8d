//! `audit tail|show|export|verify`: reads and verifies the audit log.

mod archive;
mod export;
mod source;
mod verify;

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use serde_json::json;
use source::{Filter, RecordMatcher, Source};

use super::{
    error::CliError,
    output::{self, Output, printable, table},
};
use crate::audit::Record;

const AFTER: &str = "\
The service's records are in STATE/audit/service, those of administrators'
commands in STATE/audit/officer (--log officer): lines of JSON, each with the
hash of the previous one, and checkpoints signed by the audit key in the token.

Examples:
  export STATIONMASTER_CONFIG=/etc/stationmaster/stationmaster.toml
  stationmaster audit tail -f
  stationmaster audit show --run 0196…        # all records of a run
  stationmaster audit show --refusal 0196…    # the cause of a refusal
  stationmaster audit export --format ocsf -o audit.json
  stationmaster key export audit -o audit.pem # keep it and the head elsewhere
  stationmaster audit verify /var/lib/stationmaster/audit --key audit.pem \\
      --expect-head 1234:9f3c…";

#[derive(Debug, clap::Subcommand)]
#[command(after_help = AFTER)]
pub(super) enum Command {
    /// Show the last records
    Tail(TailArgs),
    /// Show records of a run, a train, a principal, a key, a refusal
    Show(Show),
    /// Export records for other programs: JSON lines, or OCSF API Activity
    Export(export::Args),
    /// Verify a log offline, with only the files and a public key
    Verify(verify::Args),
    /// Move complete old segments of a log to another directory
    Archive(archive::Args),
}

#[derive(Debug, clap::Args)]
pub(super) struct TailArgs {
    /// Number of records
    #[arg(short = 'n', long = "lines", value_name = "NUMBER", default_value_t = 20)]
    lines: usize,
    /// Continue with new records as they are written
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
        Command::Archive(args) => archive::run(&args, output).map(|()| super::error::Exit::Done),
    }
}

fn show(args: &Show, output: Output) -> Result<(), CliError> {
    let mut found = Vec::new();
    let mut matching = RecordMatcher::new(&args.filter);
    args.source.each(|_, line| {
        if matching.matches(&line.record) {
            found.push(line.record);
        }
        Ok(())
    })?;
    print(&found, &matching, output);
    Ok(())
}

fn tail(args: &TailArgs, output: Output) -> Result<(), CliError> {
    let mut last = VecDeque::new();
    let mut matching = RecordMatcher::new(&args.filter);
    let mut position = args.source.each(|_, line| {
        if matching.matches(&line.record) {
            last.push_back(line.record);
            if last.len() > args.lines {
                last.pop_front();
            }
        }
        Ok(())
    })?;
    if !args.follow {
        print(last.make_contiguous(), &matching, output);
        return Ok(());
    }
    // Ends when the reader closes the pipe, as `head` does.
    let line = |record: &Record| {
        let written = if output.is_json() {
            output::record(&serde_json::to_string(record).unwrap_or_default())
        } else {
            output::record_for_people(&row(record, None).join("  "))
        };
        written.map_err(CliError::from)
    };
    last.iter().try_for_each(line)?;
    loop {
        std::thread::sleep(Duration::from_millis(500));
        position =
            args.source.after(position, |_, read| if matching.matches(&read.record) { line(&read.record) } else { Ok(()) })?;
    }
}

fn print(records: &[Record], matching: &RecordMatcher<'_>, output: Output) {
    output.result(&json!({ "records": records }), || {
        // The long column is last: it is printed below its row on a narrow terminal.
        let header = ["SEQ", "TIME", "EVENT", "OUTCOME", "PRINCIPAL", "WHAT"];
        let none = if records.is_empty() { "(no record matches)\n" } else { "" };
        let numbers: BTreeSet<u64> = records.iter().map(|record| record.seq).collect();
        // A key use and its outcome are one row.
        let is_separate =
            |record: &&Record| !(matching.is_outcome(record) && record.entry.of.is_some_and(|of| numbers.contains(&of)));
        let rows = records.iter().filter(is_separate).map(|record| row(record, matching.outcome(record.seq)));
        table(&header, rows.collect()) + none
    });
}

/// Formats a record in one line; `outcome` is that of the key use that it announces.
fn row(record: &Record, outcome: Option<&String>) -> Vec<String> {
    let entry = &record.entry;
    let or_dash = |text: Option<&String>| text.map_or_else(|| "-".to_owned(), |text| printable(text));
    let mut what = Vec::new();
    what.extend(entry.rpc.iter().map(|rpc| printable(rpc)));
    what.extend(
        entry.operation.iter().filter(|operation| entry.rpc.as_ref() != Some(operation)).map(|operation| printable(operation)),
    );
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
        or_dash(entry.outcome.as_ref().or(outcome)),
        or_dash(entry.principal.as_ref()),
        if what.is_empty() { "-".to_owned() } else { what.join(", ") },
    ]
}
