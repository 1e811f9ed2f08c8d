//! Reads a log: its segments, line by line, in constant memory.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use stationmaster_system::files::{explained, input};
use stationmaster_train::digest::Sha256Digest;

use super::{
    AuditError, Event, Record,
    tree::{Frontier, Hash, LeafHasher, leaf_hash},
};

/// The longest line that is read whole, in bytes. Of a longer line, which older versions could write, only the beginning is kept;
/// all of it is hashed.
pub const LONGEST_LINE: usize = 1 << 20;

/// Returns a segment's file name.
#[must_use]
pub fn segment_name(number: u64) -> String {
    format!("{number:08}.jsonl")
}

/// Returns the segments in a directory, by number.
///
/// # Errors
/// When the directory cannot be read.
pub fn segments(directory: &Path) -> Result<Vec<(u64, PathBuf)>, AuditError> {
    let flaw = |source| AuditError::io(format!("read {}", directory.display()), explained(directory, source));
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(flaw)? {
        let path = entry.map_err(flaw)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(number) = name.strip_suffix(".jsonl").and_then(|number| number.parse::<u64>().ok())
            && segment_name(number) == name
        {
            found.push((number, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Returns the segments of a log in several directories (its archive, and its own), by number. A segment that is in two of them,
/// because a move was interrupted, is taken from the later directory.
///
/// # Errors
/// When a directory cannot be read.
pub fn segments_of(directories: &[PathBuf]) -> Result<Vec<(u64, PathBuf)>, AuditError> {
    let mut found = BTreeMap::new();
    for directory in directories {
        found.extend(segments(directory)?);
    }
    Ok(found.into_iter().collect())
}

/// Why a line is not a record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The line is not a record.
    #[error("line {line} is no record: {cause}")]
    NotARecord {
        /// Number of the line, from 1.
        line: u64,
        /// The cause.
        cause: Cow<'static, str>,
    },
}

/// A line of a segment that is a record.
#[derive(Clone, Debug)]
pub struct Line {
    /// The record's hash.
    pub hash: Hash,
    /// The record. Of a line that is too long only number, time, event and the hash before it.
    pub record: Record,
    /// The bytes of the line.
    pub text: Text,
}

/// The bytes of a line, without its newline.
#[derive(Clone, Debug)]
pub enum Text {
    /// The bytes.
    Whole(Vec<u8>),
    /// The line is longer than [`LONGEST_LINE`] and stays in the file.
    TooLong {
        /// Offset in the file.
        offset: u64,
        /// Length in bytes.
        bytes: u64,
    },
}

/// A segment that is being read.
pub struct Segment {
    reader: BufReader<File>,
    begun_at: u64,
    line: u64,
    whole: u64,
    torn: u64,
}

impl Segment {
    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, AuditError> {
        let file = input::open(path).map_err(|source| AuditError::io(format!("read {}", path.display()), source))?;
        Ok(Self { reader: BufReader::with_capacity(256 * 1024, file), begun_at: 0, line: 0, whole: 0, torn: 0 })
    }

    /// Opens a file at an offset where a line begins.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open_at(path: &Path, offset: u64) -> Result<Self, AuditError> {
        let mut segment = Self::open(path)?;
        let sought = io::Seek::seek(&mut segment.reader, io::SeekFrom::Start(offset));
        sought.map_err(|source| AuditError::io(format!("read {}", path.display()), source))?;
        segment.begun_at = offset;
        Ok(segment)
    }

    /// Returns the next line. Bytes after the last newline are not a line: see [`Segment::torn`].
    ///
    /// # Errors
    /// When the line is not a record; the next line can still be read.
    pub fn next_record(&mut self) -> Result<Option<Line>, LineError> {
        let mut line = Vec::new();
        let limit = LONGEST_LINE as u64 + 1;
        let read = io::Read::take(&mut self.reader, limit).read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            if line.len() > LONGEST_LINE {
                return self.too_long(&line);
            }
            self.torn = read as u64;
            return Ok(None);
        }
        line.pop();
        self.line += 1;
        self.whole += read as u64;
        let no_record = |cause| LineError::NotARecord { line: self.line, cause };
        // Without an error message of the parser: this keeps a file of empty lines fast to read.
        if line.first() != Some(&b'{') {
            return Err(no_record("it does not begin as a record does".into()));
        }
        match serde_json::from_slice(&line) {
            Ok(record) => Ok(Some(Line { hash: leaf_hash(&line), record, text: Text::Whole(line) })),
            Err(error) => Err(no_record(error.to_string().into())),
        }
    }

    /// Reads the rest of a line that is too long to be kept.
    fn too_long(&mut self, beginning: &[u8]) -> Result<Option<Line>, LineError> {
        let offset = self.begun_at + self.whole;
        let mut hash = LeafHasher::default();
        hash.update(beginning);
        let mut bytes = beginning.len() as u64;
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                self.torn = bytes;
                return Ok(None);
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let part = end.unwrap_or(buffer.len());
            hash.update(&buffer[..part]);
            bytes += part as u64;
            self.reader.consume(part + usize::from(end.is_some()));
            if end.is_some() {
                break;
            }
        }
        self.line += 1;
        self.whole += bytes + 1;
        let cause = "it is too long, and does not begin as a record does".into();
        let mut record = beginning_of(beginning).ok_or(LineError::NotARecord { line: self.line, cause })?;
        record.entry.about.insert("bytes_of_line".to_owned(), bytes.into());
        Ok(Some(Line { hash: hash.finish(), record, text: Text::TooLong { offset, bytes } }))
    }

    /// Returns the number of the line read last, from 1.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Returns the bytes of the lines read so far.
    #[must_use]
    pub fn whole(&self) -> u64 {
        self.whole
    }

    /// Returns the number of bytes after the last newline, once the end has been reached.
    #[must_use]
    pub fn torn(&self) -> u64 {
        self.torn
    }
}

/// Parses the first fields of a record, in the order in which every version wrote them: `{"seq":1,"time":"…","prev":"…","event":"…"`.
fn beginning_of(line: &[u8]) -> Option<Record> {
    let text = line.get(..512)?.utf8_chunks().next()?.valid();
    let (seq, rest) = text.strip_prefix("{\"seq\":")?.split_once(",\"time\":\"")?;
    let (time, rest) = rest.split_once("\",\"prev\":\"")?;
    let (prev, rest) = rest.split_once("\",\"event\":\"")?;
    let (event, _) = rest.split_once('"')?;
    hash(prev)?;
    let event = serde_json::from_value(event.into()).ok()?;
    Some(Record { seq: seq.parse().ok()?, time: time.to_owned(), prev: prev.to_owned(), entry: super::Entry::of(event) })
}

/// Contents of the first record of a segment.
pub(super) struct Header {
    pub log: String,
    pub number: u64,
    pub prev: Hash,
    pub frontier: Frontier,
    /// Number of records covered by a checkpoint by then; `None` in segments of older versions.
    pub covered: Option<u64>,
}

impl Record {
    /// Returns the header, when this is the first record of a segment.
    pub(super) fn header(&self) -> Option<Header> {
        let about = &self.entry.about;
        if self.entry.event != Event::Segment {
            return None;
        }
        let roots: Option<Vec<Hash>> = about.get("frontier")?.as_array()?.iter().map(|root| hash(root.as_str()?)).collect();
        Some(Header {
            log: about.get("log")?.as_str()?.to_owned(),
            number: about.get("number")?.as_u64()?,
            prev: hash(&self.prev)?,
            frontier: Frontier::new(self.seq, roots?)?,
            covered: about.get("covered").and_then(serde_json::Value::as_u64),
        })
    }

    /// Returns when the record was written, in microseconds since 1970; 0 when the time cannot be parsed.
    #[must_use]
    pub fn time(&self) -> i64 {
        self.time.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_microsecond)
    }
}

/// Parses a hash in hex.
pub(super) fn hash(text: &str) -> Option<Hash> {
    Sha256Digest::from_hex(text).ok().map(|digest| *digest.as_bytes())
}
