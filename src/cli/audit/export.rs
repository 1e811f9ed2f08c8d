//! `audit export`: writes records for other programs.

use std::{
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
    path::Path,
};

use clap::ValueEnum;
use serde_json::{Value, json};
use stationmaster_system::files::{Readers, input};

use super::source::{Filter, RecordMatcher, Source};
use crate::{
    audit::{Event, Record, read::Text},
    cli::{
        error::CliError,
        out_file::Out,
        output::{Output, Stdout, lost},
    },
};

const AFTER: &str = "\
Formats, one object per line:
  json  the records unchanged: `audit verify` can verify a copy that contains
        all segments from the first one
  ocsf  Open Cybersecurity Schema Framework 1.3, class API Activity (6003); the
        record is under `unmapped`";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The output format
    #[arg(long, value_enum, default_value = "json")]
    format: ExportFormat,
    #[command(flatten)]
    out: Out,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ExportFormat {
    Json,
    Ocsf,
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    // Principals, trains and addresses are visible to administrators only, like the log.
    let Some(file) = args.out.begin(Readers::Owner)? else {
        let mut to = BufWriter::new(Stdout);
        let failed = |error: io::Error| match lost() {
            Some(lost) => lost.into(),
            None => CliError::other(format!("cannot write: {error}")),
        };
        write(args, &mut to, &failed)?;
        return to.flush().map_err(failed);
    };
    let path = file.path().to_owned();
    let failed = |error: io::Error| CliError::file("write", &path, &error);
    let mut to = BufWriter::new(file);
    let count = write(args, &mut to, &failed)?;
    to.into_inner().map_err(|error| failed(error.into_error()))?.finish()?;
    output.result(&json!({ "file": path, "records": count }), || format!("Wrote {count} records to {}\n", path.display()));
    Ok(())
}

/// Writes every selected record, and returns their number.
fn write(args: &Args, to: &mut impl Write, failed: &dyn Fn(io::Error) -> CliError) -> Result<u64, CliError> {
    let mut count = 0_u64;
    let mut matching = RecordMatcher::new(&args.filter);
    args.source.each(|file, line| {
        if !matching.matches(&line.record) {
            return Ok(());
        }
        count += 1;
        match (args.format, line.text) {
            (ExportFormat::Json, Text::Whole(text)) => to.write_all(&text),
            (ExportFormat::Json, Text::TooLong { offset, bytes }) => copy(file, offset, bytes, to),
            (ExportFormat::Ocsf, _) => serde_json::to_writer(&mut *to, &ocsf(&line.record)).map_err(io::Error::from),
        }
        .and_then(|()| to.write_all(b"\n"))
        .map_err(failed)
    })?;
    Ok(count)
}

/// Copies a part of a file unchanged.
fn copy(file: &Path, offset: u64, bytes: u64, to: &mut impl Write) -> io::Result<()> {
    let mut file = input::open_regular(file)?;
    file.seek(SeekFrom::Start(offset))?;
    io::copy(&mut file.take(bytes), to).map(drop)
}

/// Converts a record to OCSF 1.3, API Activity.
fn ocsf(record: &Record) -> Value {
    const API_ACTIVITY: u32 = 6003;
    let entry = &record.entry;
    let activity = match entry.event {
        Event::KeyGenerated | Event::TokenInitialised => 1,
        Event::TrustChanged
        | Event::AccessChanged
        | Event::TlsChanged
        | Event::KeyStateChanged
        | Event::RunAllowedAgain
        | Event::RunAbandoned => 3,
        Event::KeyDestroyed => 4,
        _ => 99,
    };
    let (status_id, status) = match entry.outcome.as_deref() {
        Some("ok") => (1, "Success"),
        Some(_) => (2, "Failure"),
        None => (0, "Unknown"),
    };
    let severity = if matches!(entry.event, Event::Refusal | Event::Refusals) { 3 } else { 1 };
    json!({
        "category_uid": 6,
        "class_uid": API_ACTIVITY,
        "activity_id": activity,
        "activity_name": entry.event.name(),
        "type_uid": API_ACTIVITY * 100 + activity,
        "severity_id": severity,
        "time": record.time() / 1000,
        "status_id": status_id,
        "status": status,
        "status_code": entry.outcome,
        "status_detail": entry.detail,
        "actor": { "user": { "name": entry.principal } },
        "api": { "operation": entry.rpc, "request": { "uid": entry.call } },
        "src_endpoint": { "name": entry.principal },
        "resources": entry.key.iter().map(|key| json!({ "type": "key", "name": key.label, "uid": key.fingerprint }))
            .chain(entry.train.iter().map(|train| json!({ "type": "train", "name": train.id, "uid": train.session })))
            .chain(entry.run.iter().map(|run| json!({ "type": "run", "uid": run })))
            .collect::<Vec<_>>(),
        "metadata": {
            "version": "1.3.0",
            "product": { "name": "stationmaster", "vendor_name": "stationmaster", "version": env!("CARGO_PKG_VERSION") },
            "sequence": record.seq,
            "original_time": record.time,
        },
        "unmapped": record,
    })
}
