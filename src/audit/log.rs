//! The files of one log: segments of a chain, appended to and never changed.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, Gid, Uid, fchown, flock};

use super::{
    AuditError, Covered, Entry, Event, Position, Remembered,
    read::{self, Segment},
    tree::{Frontier, Hash, leaf_hash},
};

/// What precedes the first record.
const NOTHING: Hash = [0; 32];
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
    /// What was written since it was last taken, where anybody takes it.
    copy: Option<Vec<u8>>,
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
}

impl Log {
    /// Opens the log in a directory, making both when there are none.
    pub fn open(directory: &Path, segment_limit: u64, remembered: Option<&Remembered>) -> Result<(Self, Opened), AuditError> {
        let flaw = |source| AuditError::io(format!("use {}", directory.display()), source);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(flaw)?;
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
        let chain = Chain { head: NOTHING, frontier: Frontier::default(), time: 0 };
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
            copy: None,
            chain,
            _lock: lock,
        };
        log.write(&[log.header()])?;
        Ok((log, Opened { size: 0, head: NOTHING, torn_bytes: 0 }))
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
        while let Some((line, record)) = segment.next().map_err(|flaw| broken(flaw.to_string()))? {
            let (id, chain) = match &mut chain {
                Some(known) => known,
                None => {
                    let header = record.header().ok_or_else(|| broken("it does not begin as a segment does".to_owned()))?;
                    let start = Chain { head: header.prev, frontier: header.frontier, time: 0 };
                    chain.insert((header.log, start))
                }
            };
            if record.seq != chain.frontier.size() || record.prev != const_hex::encode(chain.head) {
                return Err(broken(format!("record {} does not follow from the one before", record.seq)));
            }
            chain.push(&line, record.time());
            if let Some(remembered) = remembered.filter(|remembered| remembered.log == *id)
                && remembered.size == chain.frontier.size()
                && remembered.head != chain.head
            {
                return Err(broken(format!("record {} is not the one that was remembered", record.seq)));
            }
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
        if let Some(remembered) = remembered.filter(|remembered| remembered.log == id && remembered.size > chain.frontier.size())
        {
            let (size, known) = (chain.frontier.size(), remembered.size);
            return Err(broken(format!("it has fewer records ({size}) than it is remembered to have had ({known})")));
        }
        let flaw = |source| AuditError::io(format!("use {}", path.display()), source);
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(flaw)?;
        let opened = Opened { size: chain.frontier.size(), head: chain.head, torn_bytes };
        let mut log = Self {
            directory: directory.to_owned(),
            id,
            segment_limit,
            file,
            path: path.to_owned(),
            number,
            written: segment.whole(),
            doubtful: torn_bytes > 0,
            copy: None,
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

    /// Keeps a copy of what is written from now on, to be taken with [`Log::take_copy`].
    pub fn keep_copy(&mut self) {
        self.copy = Some(Vec::new());
    }

    /// The lines that were written since they were last taken.
    pub fn take_copy(&mut self) -> Vec<u8> {
        self.copy.as_mut().map(std::mem::take).unwrap_or_default()
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
        if self.written > self.segment_limit {
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
        }
        Ok(())
    }

    fn write(&mut self, entries: &[Entry]) -> Result<Vec<Position>, AuditError> {
        let mut chain = self.chain.clone();
        let mut bytes = Vec::with_capacity(entries.len() * 512);
        let mut positions = Vec::with_capacity(entries.len());
        for entry in entries {
            positions.push(chain.add(entry, jiff::Timestamp::now(), &mut bytes)?);
        }
        self.doubtful = true;
        let flaw = |source| AuditError::io(format!("write {}", self.path.display()), source);
        self.file.seek(SeekFrom::Start(self.written)).and_then(|_| self.file.write_all(&bytes)).map_err(flaw)?;
        self.file.sync_data().map_err(flaw)?;
        self.doubtful = false;
        self.written += bytes.len() as u64;
        self.chain = chain;
        if let Some(copy) = &mut self.copy {
            copy.extend_from_slice(&bytes);
        }
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
        Ok(())
    }

    fn header(&self) -> Entry {
        let roots: Vec<String> = self.chain.frontier.roots().iter().map(const_hex::encode).collect();
        Entry::of(Event::Segment)
            .with("log", self.id.as_str())
            .with("number", self.number)
            .with("version", env!("CARGO_PKG_VERSION"))
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
        let record = Line { seq, time: format!("{now:.6}"), prev: const_hex::encode(self.head), entry };
        let start = bytes.len();
        serde_json::to_writer(&mut *bytes, &record).map_err(|error| AuditError::io("write a record", error.into()))?;
        let hash = self.push(&bytes[start..], now.as_microsecond());
        bytes.push(b'\n');
        Ok(Position { seq, hash })
    }

    fn push(&mut self, line: &[u8], time: i64) -> Hash {
        let hash = leaf_hash(line);
        self.frontier.push(hash);
        self.head = hash;
        self.time = time;
        hash
    }
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

/// Opens a file for its owner only. What root makes belongs to whom the directory belongs to: the service reads it, too.
fn open_owned(directory: &Path, path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if rustix::process::geteuid().is_root() {
        let owner = fs::metadata(directory)?;
        if file.metadata()?.uid() != owner.uid() {
            fchown(&file, Some(Uid::from_raw(owner.uid())), Some(Gid::from_raw(owner.gid())))?;
        }
    }
    Ok(file)
}
