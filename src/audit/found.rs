//! Finds the end of a log: reads and checks its files from the remembered position on, before anything is appended.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{
    AuditError, Event, Record, Remembered,
    chain::{Chain, covered_before, covered_by},
    read::{self, Header, Segment, Text},
};

/// Contents of a log after the remembered position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unremembered {
    /// Number of records.
    pub records: u64,
    /// How many of them, from the first on, are in segments that no longer exist.
    pub gone: u64,
    /// The runs that they name, and for each the RPCs that succeeded.
    pub runs: BTreeMap<String, BTreeSet<String>>,
}

/// Contents of a log's directory.
#[derive(Debug)]
pub(super) struct LogFiles {
    /// The log, if it has been begun.
    pub log: Option<FoundLog>,
    /// Segments at the end without any record.
    pub unbegun: Vec<PathBuf>,
}

/// A log that was read.
#[derive(Debug)]
pub(super) struct FoundLog {
    /// The log's id.
    pub log: String,
    /// Number of the last segment.
    pub number: u64,
    /// File of the last segment.
    pub path: PathBuf,
    /// State of the chain at the end.
    pub chain: Chain,
    /// Bytes of the last segment's whole lines.
    pub whole: u64,
    /// Bytes after them.
    pub torn: u64,
    /// Number of lines longer than any that this version writes.
    pub long_lines: u64,
    /// Contents after the remembered position.
    pub unremembered: Unremembered,
}

/// Reads the log in a directory: its last segment, and all from the one that holds the last remembered record.
pub(super) fn find(directory: &Path, remembered: Option<&Remembered>) -> Result<LogFiles, AuditError> {
    let FoundSegments { segments, unbegun, last } = begun(directory)?;
    let Some(mut header) = last else { return Ok(LogFiles { log: None, unbegun }) };
    let remembered = remembered.filter(|place| place.log == header.log);
    let mut first = segments.len() - 1;
    while first > 0 && remembered.is_some_and(|place| header.frontier.size() >= place.size) {
        first -= 1;
        let before = &segments[first];
        header = header_of(before)?.ok_or_else(|| broken(&before.1, "it has no record, and another segment follows it"))?;
    }
    let covered = match header.covered {
        Some(covered) => covered,
        None => covered_before(directory, segments[first].0)?,
    };
    let mut reading = Reading::from(header, covered, remembered);
    reading.is_remembered(&segments[first].1)?;
    for segment in &segments[first..] {
        reading.segment(segment)?;
    }
    Ok(LogFiles { log: Some(reading.end()?), unbegun })
}

/// Segments, divided by whether they have a record.
struct FoundSegments {
    /// Segments up to the last one that has a record.
    segments: Vec<(u64, PathBuf)>,
    /// Segments after that.
    unbegun: Vec<PathBuf>,
    /// Header of the last segment with a record.
    last: Option<Header>,
}

fn begun(directory: &Path) -> Result<FoundSegments, AuditError> {
    let (mut segments, mut unbegun) = (read::segments(directory)?, Vec::new());
    while let Some(last) = segments.pop() {
        if let Some(header) = header_of(&last)? {
            segments.push(last);
            return Ok(FoundSegments { segments, unbegun, last: Some(header) });
        }
        unbegun.push(last.1);
    }
    Ok(FoundSegments { segments, unbegun, last: None })
}

/// Returns the first record of a segment, if it has one. The segment's number is read from it: the file may have been renamed.
fn header_of((number, path): &(u64, PathBuf)) -> Result<Option<Header>, AuditError> {
    let Some(line) = Segment::open(path)?.next_record().map_err(|flaw| broken(path, &flaw.to_string()))? else {
        return Ok(None);
    };
    let header = line.record.header().ok_or_else(|| broken(path, "it does not begin as a segment does"))?;
    if header.number != *number {
        return Err(broken(path, &format!("it is segment {} of its log: its file was renamed", header.number)));
    }
    Ok(Some(header))
}

fn broken(file: &Path, what: &str) -> AuditError {
    AuditError::Broken { file: file.to_owned(), what: what.to_owned() }
}

struct Reading<'a> {
    log: String,
    number: u64,
    path: PathBuf,
    chain: Chain,
    whole: u64,
    torn: u64,
    long_lines: u64,
    remembered: Option<&'a Remembered>,
    unremembered: Unremembered,
}

impl<'a> Reading<'a> {
    fn from(header: Header, covered: u64, remembered: Option<&'a Remembered>) -> Self {
        let chain = Chain::before(&header, covered);
        let gone = remembered.map_or(0, |place| chain.size().saturating_sub(place.size));
        let unremembered = Unremembered { gone, ..Unremembered::default() };
        let (log, number, path) = (header.log, header.number.saturating_sub(1), PathBuf::new());
        Self { log, number, path, chain, whole: 0, torn: 0, long_lines: 0, remembered, unremembered }
    }

    /// Checks that the chain, as far as it has been read, is the remembered one.
    fn is_remembered(&self, path: &Path) -> Result<(), AuditError> {
        let size = self.chain.size();
        match self.remembered {
            Some(place) if size > 0 && place.size == size && place.head != self.chain.head => {
                Err(broken(path, &format!("record {} is not the one that was remembered", size - 1)))
            }
            _ => Ok(()),
        }
    }

    /// Reads a segment.
    fn segment(&mut self, segment: &(u64, PathBuf)) -> Result<(), AuditError> {
        let (number, path) = (segment.0, &segment.1);
        let header = header_of(segment)?.ok_or_else(|| broken(path, "it has no record"))?;
        if self.torn > 0 || header.log != self.log || number != self.number + 1 || header.frontier != self.chain.frontier {
            return Err(broken(path, &format!("it does not follow segment {} of the log {}", self.number, self.log)));
        }
        (self.number, self.path) = (number, path.clone());
        let mut segment = Segment::open(path)?;
        while let Some(line) = segment.next_record().map_err(|flaw| broken(path, &flaw.to_string()))? {
            let record = &line.record;
            if record.seq != self.chain.size() || record.prev != const_hex::encode(self.chain.head) {
                return Err(broken(path, &format!("record {} does not follow from the one before", record.seq)));
            }
            self.long_lines += u64::from(matches!(line.text, Text::TooLong { .. }));
            self.chain.push(line.hash, record.time());
            self.chain.covered = covered_by(record).unwrap_or(self.chain.covered);
            self.is_remembered(path)?;
            if self.remembered.is_some_and(|place| record.seq >= place.size) {
                self.note(record);
            }
        }
        (self.whole, self.torn) = (segment.whole(), segment.torn());
        Ok(())
    }

    /// Notes the run that a record after the remembered position names.
    fn note(&mut self, record: &Record) {
        let entry = &record.entry;
        let Some(run) = &entry.run else { return };
        let ended = self.unremembered.runs.entry(run.clone()).or_default();
        if entry.event == Event::Step && entry.outcome.as_deref() == Some("ok") {
            ended.extend(entry.rpc.clone());
        }
    }

    fn end(mut self) -> Result<FoundLog, AuditError> {
        let size = self.chain.size();
        if let Some(place) = self.remembered {
            let known = place.size;
            let fewer =
                || broken(&self.path, &format!("it has fewer records ({size}) than it is remembered to have had ({known})"));
            self.unremembered.records = size.checked_sub(known).ok_or_else(fewer)?;
        }
        let Self { log, number, path, chain, whole, torn, long_lines, unremembered, .. } = self;
        Ok(FoundLog { log, number, path, chain, whole, torn, long_lines, unremembered })
    }
}

/// Returns the id of the log in a directory, if there is one. Changes nothing.
///
/// # Errors
/// When it cannot be read, or its last segment does not begin with a segment's record.
pub fn log_in(directory: &Path) -> Result<Option<String>, AuditError> {
    Ok(where_there(begun(directory))?.and_then(|begun| begun.last).map(|header| header.log))
}

/// Returns the end of the log in a directory, if there is one. Changes nothing.
///
/// # Errors
/// When it cannot be read, or its last segment is not the chain that was written.
pub fn end_of(directory: &Path) -> Result<Option<Remembered>, AuditError> {
    let found = where_there(find(directory, None))?.and_then(|files| files.log);
    Ok(found.map(|found| Remembered { size: found.chain.size(), head: found.chain.head, log: found.log }))
}

/// Returns what the log in a directory contains after a position, if there is a log. Changes nothing.
///
/// # Errors
/// As [`end_of`], and when the position belongs to another log.
pub fn since(directory: &Path, place: &Remembered) -> Result<Option<Unremembered>, AuditError> {
    let found = where_there(find(directory, Some(place)))?.and_then(|files| files.log);
    Ok(found.map(|found| found.unremembered))
}

/// Returns `None` for a directory that does not exist.
fn where_there<T>(found: Result<T, AuditError>) -> Result<Option<T>, AuditError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(AuditError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
