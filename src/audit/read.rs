//! Reading a log: its segments, line by line, in constant memory.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use super::{
    AuditError, Event, Record,
    tree::{Frontier, Hash},
};

/// The longest line that is read, in bytes.
pub const LONGEST_LINE: usize = 1 << 20;

/// A segment's name in its directory.
#[must_use]
pub fn segment_name(number: u64) -> String {
    format!("{number:08}.jsonl")
}

/// The segments in a directory, by number.
///
/// # Errors
/// When the directory cannot be read.
pub fn segments(directory: &Path) -> Result<Vec<(u64, PathBuf)>, AuditError> {
    let flaw = |source| AuditError::io(format!("read {}", directory.display()), source);
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

/// Why a line is not a record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The line is longer than [`LONGEST_LINE`].
    #[error("line {0} is longer than {LONGEST_LINE} bytes")]
    TooLong(u64),
    /// The line is not a record.
    #[error("line {line} is no record: {cause}")]
    NotARecord {
        /// Its number, from 1.
        line: u64,
        /// Why not.
        cause: String,
    },
}

/// A segment that is read.
pub struct Segment {
    reader: BufReader<File>,
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
        let file = File::open(path).map_err(|source| AuditError::io(format!("read {}", path.display()), source))?;
        Ok(Self { reader: BufReader::with_capacity(256 * 1024, file), line: 0, whole: 0, torn: 0 })
    }

    /// Opens a file at a place where a line begins.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open_at(path: &Path, offset: u64) -> Result<Self, AuditError> {
        let mut segment = Self::open(path)?;
        let sought = io::Seek::seek(&mut segment.reader, io::SeekFrom::Start(offset));
        sought.map_err(|source| AuditError::io(format!("read {}", path.display()), source))?;
        Ok(segment)
    }

    /// The next line without its newline, and what it says. What comes after the last newline is no line: see [`Segment::torn`].
    ///
    /// # Errors
    /// When the line is no record.
    pub fn next(&mut self) -> Result<Option<(Vec<u8>, Record)>, LineError> {
        let mut line = Vec::new();
        let limit = LONGEST_LINE as u64 + 1;
        let read = io::Read::take(&mut self.reader, limit).read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            if line.len() > LONGEST_LINE {
                return Err(LineError::TooLong(self.line + 1));
            }
            self.torn = read as u64;
            return Ok(None);
        }
        line.pop();
        self.line += 1;
        self.whole += read as u64;
        match serde_json::from_slice(&line) {
            Ok(record) => Ok(Some((line, record))),
            Err(error) => Err(LineError::NotARecord { line: self.line, cause: error.to_string() }),
        }
    }

    /// Number of the line read last, from 1.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Bytes of the lines read so far.
    #[must_use]
    pub fn whole(&self) -> u64 {
        self.whole
    }

    /// Bytes after the last newline, once the end has been reached.
    #[must_use]
    pub fn torn(&self) -> u64 {
        self.torn
    }
}

/// What the first record of a segment says.
pub(super) struct Header {
    pub log: String,
    pub number: u64,
    pub prev: Hash,
    pub frontier: Frontier,
}

impl Record {
    /// What this says as the first record of a segment.
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
        })
    }

    /// When it was written, in microseconds since 1970; 0 when that cannot be read.
    #[must_use]
    pub fn time(&self) -> i64 {
        self.time.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_microsecond)
    }
}

/// Reads a hash in hex.
pub(super) fn hash(text: &str) -> Option<Hash> {
    const_hex::decode_to_array(text).ok()
}
