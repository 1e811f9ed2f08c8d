//! The chain of a log: what each record takes from the one before it, and what checkpoints cover.

use std::path::Path;

use super::{
    AuditError, Entry, Event, Position, Record, bound,
    read::{self, Header, Segment},
    tree::{Frontier, Hash, leaf_hash},
};

/// What precedes the first record.
pub(super) const NOTHING: Hash = [0; 32];
/// Records of a checkpoint's own, behind what it covers.
const OWN: u64 = 2;
/// What the frame of a record takes: number, time, the hash before it, the names of these.
const FRAME_BYTES: usize = 256;

/// Where the chain stands.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    pub head: Hash,
    pub frontier: Frontier,
    /// Microseconds since 1970 of the last record.
    pub time: i64,
    /// Records that a checkpoint covers.
    pub covered: u64,
}

/// [`super::Record`], on its way out.
#[derive(serde::Serialize)]
struct Line<'a> {
    seq: u64,
    time: String,
    prev: String,
    #[serde(flatten)]
    entry: &'a Entry,
}

impl Chain {
    /// Before the first record.
    pub fn empty() -> Self {
        Self { head: NOTHING, frontier: Frontier::default(), time: 0, covered: 0 }
    }

    /// Before the first record of a segment.
    pub fn before(header: &Header, covered: u64) -> Self {
        Self { head: header.prev, frontier: header.frontier.clone(), time: 0, covered }
    }

    /// Records in it.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Adds a record, and its line to `bytes`.
    pub fn add(&mut self, entry: &Entry, now: jiff::Timestamp, bytes: &mut Vec<u8>) -> Result<Position, AuditError> {
        let seq = self.frontier.size();
        let start = bytes.len();
        let write = |entry: &Entry, bytes: &mut Vec<u8>| {
            bytes.truncate(start);
            let record = Line { seq, time: format!("{now:.6}"), prev: const_hex::encode(self.head), entry };
            serde_json::to_writer(bytes, &record).map_err(|error| AuditError::io("write a record", error.into()))
        };
        write(entry, bytes)?;
        // Whatever is written can be read back: the reader's bound is the writer's, too.
        if bytes.len() - start > bound::RECORD_BYTES {
            write(&bound::shortened(entry, bound::RECORD_BYTES - FRAME_BYTES), bytes)?;
        }
        let hash = self.push(leaf_hash(&bytes[start..]), now.as_microsecond());
        bytes.push(b'\n');
        Ok(Position { seq, hash })
    }

    /// Adds a record that was read, or that [`Chain::add`] has written.
    pub fn push(&mut self, hash: Hash, time: i64) -> Hash {
        self.frontier.push(hash);
        self.head = hash;
        self.time = time;
        hash
    }
}

/// Records that no checkpoint covers, when the last covers so many.
pub(super) fn unsigned(size: u64, covered: u64) -> u64 {
    if covered == 0 { size } else { size.saturating_sub(covered.saturating_add(OWN)) }
}

/// What a checkpoint says that it covers.
pub(super) fn covered_in(entry: &Entry) -> Option<u64> {
    if entry.event != Event::Checkpoint {
        return None;
    }
    entry.about.get("size")?.as_u64()
}

pub(super) fn covered_by(record: &Record) -> Option<u64> {
    covered_in(&record.entry).filter(|covered| *covered <= record.seq)
}

/// Records that checkpoints in earlier segments cover: a segment of an older version does not say so itself.
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
