//! Verifies a log offline, from nothing but its files and a public key.

mod administrators;
mod head;
mod reader;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

pub use head::Head;
use reader::LogReader;

pub use super::uses::{KeyName, Uses};
use super::{AuditError, read};

/// Number of flaws that are reported; further ones are only counted.
const FLAWS_SHOWN: usize = 100;

/// A flaw, and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 for the file as a whole.
    pub line: u64,
    /// The flaw.
    pub what: String,
}

/// Records that no checkpoint covered while the service was not running: with write access to the file they could have been changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsigned {
    /// The first of them.
    pub first: u64,
    /// The last of them.
    pub last: u64,
}

/// What is checked in addition to the chain.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected<'a> {
    /// The keys (SubjectPublicKeyInfo) that checkpoints are signed with: several if the key was changed. Without one they are not counted.
    pub keys: &'a [&'a [u8]],
    /// A position that the log must have reached.
    pub head: Option<Head>,
    /// Whether a log without any checkpoint is accepted although a key is given.
    pub allow_unsigned: bool,
}

/// Result of a verification.
#[derive(Clone, Debug, Default)]
pub struct LogVerification {
    /// The log's id.
    pub log: String,
    /// Number of the first record found; 0 unless earlier segments are kept elsewhere.
    pub first: u64,
    /// Where the log ends.
    pub head: Option<Head>,
    /// Number of checkpoints with a valid signature and root.
    pub checkpoints: u64,
    /// Number of records that the last of them covers.
    pub covered: u64,
    /// Number of records that the last checkpoint covers; without a key, as the checkpoint claims.
    pub claimed: u64,
    /// Records that were unsigned while the service was not running; at most 100 ranges.
    pub unsigned: Vec<Unsigned>,
    /// Number of such ranges.
    pub unsigned_count: u64,
    /// Bytes of a half-written record at the end, not yet confirmed to any caller. A running service may be writing it.
    pub torn_bytes: u64,
    /// Number of lines that are longer than any that this version writes; older versions wrote them. They are part of the chain.
    pub long_lines: u64,
    /// Uses by key and principal.
    pub uses: BTreeMap<KeyName, BTreeMap<String, Uses>>,
    /// Where the service last found the log of the administrators' commands: its id and its position.
    pub administrators: Option<(String, Head)>,
    /// Flaws; at most 100 of them.
    pub flaws: Vec<Flaw>,
    /// Number of flaws.
    pub flaw_count: u64,
}

impl LogVerification {
    /// Returns whether there are no flaws.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.flaw_count == 0
    }

    fn flaw(&mut self, file: &Path, line: u64, what: fmt::Arguments<'_>) {
        self.flaw_count += 1;
        if self.flaws.len() < FLAWS_SHOWN {
            self.flaws.push(Flaw { file: file.to_owned(), line, what: what.to_string() });
        }
    }
}

/// Returns the segments that a path names: a file, or the log's directory.
///
/// # Errors
/// When it cannot be read.
pub fn files(path: &Path) -> Result<Vec<PathBuf>, AuditError> {
    if path.is_dir() {
        return Ok(read::segments(path)?.into_iter().map(|(_, path)| path).collect());
    }
    Ok(vec![path.to_owned()])
}

/// Verifies segments, in their order.
///
/// # Errors
/// When a file cannot be read. A flaw in a file is not an error.
pub fn verify(files: &[PathBuf], expected: Expected<'_>) -> Result<LogVerification, AuditError> {
    let mut reading = LogReader::new(expected);
    for file in files {
        reading.segment(file)?;
    }
    Ok(reading.end(files.last()))
}

/// As [`verify`], for the service's log and for the administrators' log, whose position the service signs in its own.
///
/// # Errors
/// As [`verify`].
pub fn verify_both(
    service: &[PathBuf],
    administrators: &[PathBuf],
    expected: Expected<'_>,
) -> Result<(LogVerification, LogVerification), AuditError> {
    let mut found = verify(service, expected)?;
    let head = found.administrators.as_ref().map(|(_, head)| *head);
    let mut others = match administrators {
        // No such log exists yet: as long as the service has not seen one, nothing is missing.
        [] => LogVerification::default(),
        files => verify(files, Expected { keys: &[], head, allow_unsigned: true })?,
    };
    if let Some((log, head)) = &found.administrators
        && *log != others.log
    {
        let file = administrators.last().or(service.last()).cloned().unwrap_or_default();
        let what = format_args!("the administrators' log {log}, of which the service has seen {} records, is gone", head.size);
        others.flaw(&file, 0, what);
    }
    if !others.holds() {
        found.flaw_count += others.flaw_count;
        found.flaws.extend(others.flaws.iter().cloned());
        found.flaws.truncate(FLAWS_SHOWN);
    }
    Ok((found, others))
}
