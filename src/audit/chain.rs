//! The hash chain of a log: how each record depends on the one before it, and how many records checkpoints cover.

use std::path::Path;

use super::{
    AuditError, Entry, Event, Position, Record, bound,
    read::{self, Header, Segment},
    tree::{Frontier, Hash, leaf_hash},
};

/// The hash before the first record.
pub(super) const NOTHING: Hash = [0; 32];
/// Number of records that a checkpoint adds itself, after those it covers.
const OWN: u64 = 2;
/// Bytes of a record's frame: number, time, the hash before it, and the names of these fields.
const FRAME_BYTES: usize = 256;

/// State of the chain after its last record.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    pub head: Hash,
    pub frontier: Frontier,
    /// Time of the last record, in microseconds since 1970.
    pub time: i64,
    /// Number of records that a checkpoint covers.
    pub covered: u64,
}

/// [`super::Record`] in the form in which it is written.
#[derive(serde::Serialize)]
struct Line<'a> {
    seq: u64,
    time: String,
    prev: String,
    #[serde(flatten)]
    entry: &'a Entry,
}

impl Chain {
    /// Returns the state before the first record.
    pub(super) fn empty() -> Self {
        Self { head: NOTHING, frontier: Frontier::default(), time: 0, covered: 0 }
    }

    /// Returns the state before the first record of a segment.
    pub(super) fn before(header: &Header, covered: u64) -> Self {
        Self { head: header.prev, frontier: header.frontier.clone(), time: 0, covered }
    }

    /// Returns the number of records.
    pub(super) fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Adds a record, and appends its line to `bytes`.
    pub(super) fn add(&mut self, entry: &Entry, now: jiff::Timestamp, bytes: &mut Vec<u8>) -> Result<Position, AuditError> {
        let seq = self.frontier.size();
        let start = bytes.len();
        let write = |entry: &Entry, bytes: &mut Vec<u8>| {
            bytes.truncate(start);
            let record = Line { seq, time: format!("{now:.6}"), prev: const_hex::encode(self.head), entry };
            serde_json::to_writer(bytes, &record).map_err(|error| AuditError::io("write a record", error.into()))
        };
        write(entry, bytes)?;
        // Every written record can be read back: the reader's bound also applies to the writer.
        if bytes.len() - start > bound::RECORD_BYTES {
            write(&bound::shortened(entry, bound::RECORD_BYTES - FRAME_BYTES), bytes)?;
        }
        let hash = self.push(leaf_hash(&bytes[start..]), now.as_microsecond());
        bytes.push(b'\n');
        Ok(Position { seq, hash })
    }

    /// Adds a record that was read, or that [`Chain::add`] has written.
    pub(super) fn push(&mut self, hash: Hash, time: i64) -> Hash {
        self.frontier.push(hash);
        self.head = hash;
        self.time = time;
        hash
    }
}

/// Returns the number of records that no checkpoint covers, when the last one covers `covered`.
pub(super) fn unsigned(size: u64, covered: u64) -> u64 {
    if covered == 0 { size } else { size.saturating_sub(covered.saturating_add(OWN)) }
}

/// Returns how many records a checkpoint claims to cover.
pub(super) fn covered_in(entry: &Entry) -> Option<u64> {
    if entry.event != Event::Checkpoint {
        return None;
    }
    entry.about.get("size")?.as_u64()
}

pub(super) fn covered_by(record: &Record) -> Option<u64> {
    covered_in(&record.entry).filter(|covered| *covered <= record.seq)
}

/// Returns how many records are covered by checkpoints in earlier segments: segments of older versions do not state it.
pub(super) fn covered_before(directory: &Path, number: u64) -> Result<u64, AuditError> {
    for (_, path) in read::segments(directory)?.into_iter().rev().filter(|(before, _)| *before < number) {
        let mut segment = Segment::open(&path)?;
        let mut last = None;
        while let Ok(Some(line)) = segment.next_record() {
            last = covered_by(&line.record).or(last);
        }
        if let Some(covered) = last {
            return Ok(covered);
        }
    }
    Ok(0)
}
