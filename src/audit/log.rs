//! The files of one log: segments of a chain, appended to and never changed.

use std::{
    fs::{self, File},
    io::{self, Seek, SeekFrom, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use super::{
    AuditError, Covered, Entry, Event, Position, Record, Remembered, bound,
    read::{self, Segment, Text},
    reserve::Reserve,
    second::End,
    tree::{Frontier, Hash, leaf_hash},
};
use crate::files::{Directory, explained, make_directory};

/// What precedes the first record.
const NOTHING: Hash = [0; 32];
/// Records of a checkpoint's own, behind what it covers.
const OWN: u64 = 2;
/// What the frame of a record takes: number, time, the hash before it, the names of these.
const FRAME_BYTES: usize = 256;
/// A clock that is behind by less is not worth a record.
const CLOCK_GRAIN_US: i64 = 1_000_000;

/// What was found when a log was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Records that were there.
    pub size: u64,
    /// Hash of the last of them.
    pub head: Hash,
    /// Bytes of a half-written record at the end, which were cut off.
    pub torn_bytes: u64,
    /// Records that no checkpoint covers, its own two left out: who holds no key could have rewritten these.
    pub unsigned: u64,
    /// Records past the remembered place: no caller was told of them.
    pub unremembered: u64,
    /// Lines of the last segment that are longer than any that is written: an older version wrote them.
    pub long_lines: u64,
}

/// A log, open for appending. One process has it at a time.
pub(super) struct Log {
    directory: PathBuf,
    id: String,
    segment_limit: u64,
    file: File,
    path: PathBuf,
    number: u64,
    /// Bytes of the segment that are a chain; anything after them was never answered for.
    written: u64,
    /// Whether the last write failed: the file may then be longer than `written`.
    doubtful: bool,
    reserve: Reserve,
    chain: Chain,
    _lock: File,
}

/// Where the chain stands.
#[derive(Clone, Debug)]
struct Chain {
    head: Hash,
    frontier: Frontier,
    /// Microseconds since 1970 of the last record.
    time: i64,
    /// Records that a checkpoint covers.
    covered: u64,
}

impl Log {
    /// Opens the log in a directory, making both when there are none.
    pub fn open(directory: &Path, segment_limit: u64, remembered: Option<&Remembered>) -> Result<(Self, Opened), AuditError> {
        let flaw = |source| AuditError::io(format!("use {}", directory.display()), explained(directory, source));
        make_directory(directory).map_err(flaw)?;
        let lock = open_owned(directory, &directory.join("lock")).map_err(flaw)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(AuditError::Held(directory.to_owned())),
            Err(error) => return Err(flaw(error.into())),
        }
        match read::segments(directory)?.last() {
            None => Self::begin(directory, segment_limit, lock),
            Some((number, path)) => Self::resume(directory, segment_limit, lock, (*number, path), remembered),
        }
    }

    fn begin(directory: &Path, segment_limit: u64, lock: File) -> Result<(Self, Opened), AuditError> {
        let id = uuid::Uuid::new_v4().to_string();
        let chain = Chain { head: NOTHING, frontier: Frontier::default(), time: 0, covered: 0 };
        let (file, path) = new_segment(directory, 1)?;
        let mut log = Self {
            directory: directory.to_owned(),
            id,
            segment_limit,
            file,
            path,
            number: 1,
            written: 0,
            doubtful: false,
            reserve: Reserve::new(0),
            chain,
            _lock: lock,
        };
        log.write(&[log.header()])?;
        Ok((log, Opened { size: 0, head: NOTHING, torn_bytes: 0, unsigned: 0, unremembered: 0, long_lines: 0 }))
    }

    fn resume(
        directory: &Path,
        segment_limit: u64,
        lock: File,
        (number, path): (u64, &Path),
        remembered: Option<&Remembered>,
    ) -> Result<(Self, Opened), AuditError> {
        let broken = |what: String| AuditError::Broken { file: path.to_owned(), what };
        let mut segment = Segment::open(path)?;
        let mut chain: Option<(String, Chain)> = None;
        let mut long_lines = 0;
        let remembered_in = |id: &str| remembered.filter(|remembered| remembered.log == id);
        let is_remembered = |id: &str, chain: &Chain| {
            let other = remembered_in(id).filter(|known| known.size == chain.frontier.size() && known.head != chain.head);
            other.map_or(Ok(()), |known| Err(broken(format!("record {} is not the one that was remembered", known.size - 1))))
        };
        while let Some(line) = segment.next_record().map_err(|flaw| broken(flaw.to_string()))? {
            let record = &line.record;
            let (id, chain) = match &mut chain {
                Some(known) => known,
                None => {
                    let header = record.header().ok_or_else(|| broken("it does not begin as a segment does".to_owned()))?;
                    let covered = match header.covered {
                        Some(covered) => covered,
                        None => covered_before(directory, number)?,
                    };
                    let start = Chain { head: header.prev, frontier: header.frontier, time: 0, covered };
                    if start.frontier.size() > 0 {
                        is_remembered(&header.log, &start)?;
                    }
                    chain.insert((header.log, start))
                }
            };
            if record.seq != chain.frontier.size() || record.prev != const_hex::encode(chain.head) {
                return Err(broken(format!("record {} does not follow from the one before", record.seq)));
            }
            long_lines += u64::from(matches!(line.text, Text::TooLong { .. }));
            chain.push(line.hash, record.time());
            chain.covered = covered_by(record).unwrap_or(chain.covered);
            is_remembered(id, chain)?;
        }
        let torn_bytes = segment.torn();
        // A segment whose first line was cut off was begun by a rotation that nobody was told of; the file before goes on.
        let Some((id, chain)) = chain else {
            let before = number.checked_sub(1).filter(|before| *before > 0);
            let path_before = before.map(|before| directory.join(read::segment_name(before)));
            fs::remove_file(path).map_err(|source| AuditError::io(format!("remove {}", path.display()), source))?;
            return match (before, path_before) {
                (Some(before), Some(path)) => Self::resume(directory, segment_limit, lock, (before, &path), remembered),
                _ => Self::begin(directory, segment_limit, lock),
            };
        };
        let size = chain.frontier.size();
        let known = remembered_in(&id).map(|remembered| remembered.size);
        if let Some(known) = known.filter(|known| *known > size) {
            return Err(broken(format!("it has fewer records ({size}) than it is remembered to have had ({known})")));
        }
        let flaw = |source| AuditError::io(format!("use {}", path.display()), source);
        let file = open_owned(directory, path).map_err(flaw)?;
        let opened = Opened {
            size,
            head: chain.head,
            torn_bytes,
            unsigned: unsigned(size, chain.covered),
            unremembered: known.map_or(0, |known| size - known),
            long_lines,
        };
        let mut log = Self {
            directory: directory.to_owned(),
            id,
            segment_limit,
            file,
            path: path.to_owned(),
            number,
            written: segment.whole(),
            doubtful: torn_bytes > 0,
            reserve: Reserve::new(0),
            chain,
            _lock: lock,
        };
        if torn_bytes > 0 {
            log.append(&[Entry::of(Event::Recovered).with("torn_bytes", torn_bytes)])?;
        }
        Ok((log, opened))
    }

    /// What checkpoints call the log.
    pub fn origin(&self) -> &str {
        &self.id
    }

    /// Records in it.
    pub fn size(&self) -> u64 {
        self.chain.frontier.size()
    }

    /// Hash of the last of them.
    pub fn head(&self) -> Hash {
        self.chain.head
    }

    /// How far it is written.
    pub fn end(&self) -> End {
        End { segment: self.number, bytes: self.written, size: self.size() }
    }

    /// Whether its disk is full, or nearly.
    pub fn is_low(&self) -> bool {
        self.reserve.is_low()
    }

    /// Has so many bytes of the disk ready that only this log can use.
    pub fn reserve(&mut self, bytes: u64) {
        self.reserve = Reserve::new(bytes);
        self.reserve.fill(&self.file, self.written);
    }

    /// Appends records and has them on the disk before it answers. All of them, or none: after a failure the file is cut back by
    /// the next call.
    pub fn append(&mut self, entries: &[Entry]) -> Result<Vec<Position>, AuditError> {
        self.prepare()?;
        self.write(entries)
    }

    /// Appends a record; answers the head and the root of what precedes it, too.
    pub fn append_after_all(&mut self, entry: Entry) -> Result<Covered, AuditError> {
        self.prepare()?;
        let (head, root, size) = (self.chain.head, self.chain.frontier.root(), self.size());
        self.write(&[entry])?;
        Ok(Covered { size, head, root })
    }

    /// Whatever must be in the log before the next record.
    fn prepare(&mut self) -> Result<(), AuditError> {
        self.mend()?;
        let has_space = self.reserve.fill(&self.file, self.written);
        // A new segment would have no reserve: the current one grows on.
        if self.written > self.segment_limit && has_space {
            self.rotate()?;
        }
        let back = self.chain.time - jiff::Timestamp::now().as_microsecond();
        if back > CLOCK_GRAIN_US {
            self.write(&[Entry::of(Event::ClockWentBack).with("seconds", back / 1_000_000)])?;
        }
        Ok(())
    }

    /// Whether records can be appended: the file is the one that was written to, and nothing else has written to it.
    pub fn mend(&mut self) -> Result<(), AuditError> {
        let flaw = |path: &Path, source| AuditError::io(format!("use {}", path.display()), source);
        let there = fs::symlink_metadata(&self.path).map_err(|source| flaw(&self.path, source))?;
        let ours = self.file.metadata().map_err(|source| flaw(&self.path, source))?;
        let broken = |what: &str| AuditError::Broken { file: self.path.clone(), what: what.to_owned() };
        if (there.dev(), there.ino()) != (ours.dev(), ours.ino()) {
            return Err(broken("another file was put in its place"));
        }
        if ours.len() < self.written || (!self.doubtful && ours.len() != self.written) {
            return Err(broken("somebody else changed its length"));
        }
        if self.doubtful {
            self.file.set_len(self.written).and_then(|()| self.file.sync_all()).map_err(|source| flaw(&self.path, source))?;
            self.doubtful = false;
            self.reserve.forget();
        }
        Ok(())
    }

    fn write(&mut self, entries: &[Entry]) -> Result<Vec<Position>, AuditError> {
        let mut chain = self.chain.clone();
        let mut bytes = Vec::with_capacity(entries.len() * 512);
        let mut positions = Vec::with_capacity(entries.len());
        for entry in entries {
            positions.push(chain.add(entry, jiff::Timestamp::now(), &mut bytes)?);
            chain.covered = covered_in(entry).unwrap_or(chain.covered);
        }
        self.doubtful = true;
        let flaw = |source| AuditError::io(format!("write {}", self.path.display()), source);
        self.file.seek(SeekFrom::Start(self.written)).and_then(|_| self.file.write_all(&bytes)).map_err(flaw)?;
        self.file.sync_data().map_err(flaw)?;
        self.doubtful = false;
        self.written += bytes.len() as u64;
        self.chain = chain;
        Ok(positions)
    }

    /// Begins the next segment. The old one is whole by then, and the new one's first record links the two.
    fn rotate(&mut self) -> Result<(), AuditError> {
        let number = self.number + 1;
        let (file, path) = new_segment(&self.directory, number)?;
        let before = (
            std::mem::replace(&mut self.file, file),
            std::mem::replace(&mut self.path, path),
            std::mem::replace(&mut self.number, number),
            std::mem::replace(&mut self.written, 0),
        );
        if let Err(error) = self.write(&[self.header()]) {
            let _ = fs::remove_file(&self.path);
            (self.file, self.path, self.number, self.written) = before;
            self.doubtful = false;
            return Err(error);
        }
        // What the old one had in reserve is free again.
        let (file, _, _, written) = before;
        let _ = file.set_len(written);
        self.reserve.forget();
        self.reserve.fill(&self.file, self.written);
        Ok(())
    }

    fn header(&self) -> Entry {
        let roots: Vec<String> = self.chain.frontier.roots().iter().map(const_hex::encode).collect();
        Entry::of(Event::Segment)
            .with("log", self.id.as_str())
            .with("number", self.number)
            .with("version", env!("CARGO_PKG_VERSION"))
            .with("covered", self.chain.covered)
            .with("frontier", roots)
    }
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
    fn add(&mut self, entry: &Entry, now: jiff::Timestamp, bytes: &mut Vec<u8>) -> Result<Position, AuditError> {
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

    fn push(&mut self, hash: Hash, time: i64) -> Hash {
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
fn covered_in(entry: &Entry) -> Option<u64> {
    if entry.event != Event::Checkpoint {
        return None;
    }
    entry.about.get("size")?.as_u64()
}

pub(super) fn covered_by(record: &Record) -> Option<u64> {
    covered_in(&record.entry).filter(|covered| *covered <= record.seq)
}

/// Records that checkpoints in earlier segments cover: a segment of an older version does not say so itself.
fn covered_before(directory: &Path, number: u64) -> Result<u64, AuditError> {
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

fn new_segment(directory: &Path, number: u64) -> Result<(File, PathBuf), AuditError> {
    let path = directory.join(read::segment_name(number));
    let flaw = |source| AuditError::io(format!("make {}", path.display()), source);
    // What lies there was begun by a rotation that failed, and holds nothing that anybody was told of.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(flaw(error)),
        _ => {}
    }
    let file = open_owned(directory, &path).map_err(flaw)?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(flaw)?;
    Ok((file, path))
}

/// Opens a file for its owner only, and follows no link. What root makes belongs to whom the directory belongs to: the service reads it,
/// too.
fn open_owned(directory: &Path, path: &Path) -> io::Result<File> {
    Directory::open(directory)?.open_own(path.file_name().unwrap_or_default())
}
