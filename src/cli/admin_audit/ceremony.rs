//! The open ceremony of a station: a file beside its audit logs. Records that are written while it exists carry its id.

use std::{io, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stationmaster_system::files::{Directory, NewFile, input, make_directory};
use uuid::Uuid;

use crate::{
    audit::{self, Entry, Event, read},
    cli::error::{CliError, Exit},
    ledger::ReasonText,
};

/// The file's name in the directory of the audit logs.
const FILE: &str = "ceremony.json";
/// Maximum size of the file, in bytes.
const LIMIT: u64 = 256 << 10;
/// Maximum number of participants.
const PARTICIPANTS: usize = 50;
/// Maximum number of records of a ceremony.
const RECORDS: usize = 5000;

/// A ceremony.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct OpenCeremony {
    pub id: String,
    pub title: String,
    pub participants: Vec<String>,
    /// RFC 3339, UTC.
    pub started: String,
}

impl OpenCeremony {
    pub(in crate::cli) fn new(title: &ReasonText, participants: &[ReasonText]) -> Result<Self, CliError> {
        if participants.len() > PARTICIPANTS {
            return Err(CliError::usage(format!("a ceremony has at most {PARTICIPANTS} participants")));
        }
        Ok(Self {
            id: Uuid::now_v7().to_string(),
            title: title.as_str().to_owned(),
            participants: participants.iter().map(|name| name.as_str().to_owned()).collect(),
            started: jiff::Timestamp::now().to_string(),
        })
    }
}

/// Returns the open ceremony.
fn open(audit: &Path) -> Result<Option<OpenCeremony>, CliError> {
    let path = audit.join(FILE);
    match input::read(&path, LIMIT) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|_| {
            CliError::new(Exit::State, format!("{} is no open ceremony: it was edited, or damaged", path.display()))
                .with_hint("move it away, and note why")
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CliError::file("read", &path, &error)),
    }
}

/// Returns the open ceremony, which there must be.
pub(in crate::cli) fn required(audit: &Path) -> Result<OpenCeremony, CliError> {
    open(audit)?.ok_or_else(|| CliError::new(Exit::State, "no ceremony is open").with_hint("`ceremony start` begins one"))
}

/// Adds the open ceremony's id to a record.
pub(super) fn linked(audit: &Path, entry: Entry) -> Result<Entry, CliError> {
    Ok(match open(audit)? {
        Some(open) => entry.with("ceremony", open.id),
        None => entry,
    })
}

/// Begins a ceremony.
pub(in crate::cli) fn start(audit: &Path, new: &OpenCeremony) -> Result<(), CliError> {
    if let Some(open) = open(audit)? {
        return Err(CliError::new(Exit::State, format!("the ceremony {:?} is open", open.title))
            .with_hint("`ceremony finish` or `ceremony abort` ends it"));
    }
    let bytes = serde_json::to_vec(new).map_err(CliError::other)?;
    let entry = super::entry(Event::CeremonyStarted, "ceremony start")
        .with("ceremony", new.id.clone())
        .with("title", new.title.clone())
        .with("participants", new.participants.clone());
    super::carry_out(audit, entry, || {
        let write = || {
            make_directory(audit)?;
            let directory = Directory::open(audit)?;
            let mut file: NewFile = directory.begin(FILE, 0o600)?;
            io::Write::write_all(&mut file, &bytes)?;
            file.sync()?.publish_new()
        };
        write().map_err(|error| CliError::directory("write to", audit, &error))
    })
}

/// Ends the ceremony.
pub(in crate::cli) fn end(audit: &Path) -> Result<(), CliError> {
    let end = || {
        let directory = Directory::open(audit)?;
        directory.remove(FILE)?;
        directory.sync()
    };
    end().map_err(|error| CliError::directory("write to", audit, &error))
}

/// Returns the records of a ceremony, in their order.
pub(in crate::cli) fn records(audit: &Path, id: &str) -> Result<Vec<Value>, CliError> {
    let mut records = Vec::new();
    for (_, path) in read::segments(&audit.join(audit::ADMINISTRATORS))? {
        let flaw = |error: read::LineError| {
            CliError::other(format!("{}: {error}", path.display())).with_hint("`audit verify` shows details")
        };
        let mut segment = read::Segment::open(&path)?;
        while let Some(line) = segment.next_record().map_err(flaw)? {
            let record = &line.record;
            if record.entry.about.get("ceremony").and_then(Value::as_str) != Some(id) {
                continue;
            }
            records.push(serde_json::to_value(record).map_err(CliError::other)?);
            if records.len() > RECORDS {
                return Err(CliError::new(Exit::State, format!("the ceremony has more than {RECORDS} records"))
                    .with_hint("`ceremony abort` ends it; the records stay in the audit"));
            }
        }
    }
    Ok(records)
}
