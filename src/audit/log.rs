//! The files of one log: segments of a chain that are appended to and never changed.

use std::{
    fs::{self, File},
    io::{self, Seek, SeekFrom, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use stationmaster_system::files::{Directory, explained, make_directory, try_lock};

use super::{
    AuditError, Covered, Entry, Event, Position, Remembered,
    chain::{Chain, NOTHING, covered_in, unsigned},
    found::{self, FoundLog, Unremembered},
    mirror::LogEnd,
    read,
    reserve::Reserve,
    tree::Hash,
};

/// Smallest backward step of the clock that is recorded, in microseconds.
const CLOCK_GRAIN_US: i64 = 1_000_000;

/// What was found when a log was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Number of existing records.
    pub size: u64,
    /// Hash of the last of them.
    pub head: Hash,
    /// Bytes of a half-written record at the end, which were cut off.
    pub torn_bytes: u64,
    /// Records that no checkpoint covers, except its own two: an attacker without the key could have rewritten these.
    pub unsigned: u64,
    /// Contents of the log after the remembered position.
    pub unremembered: Unremembered,
    /// Number of lines that are longer than any that this version writes; older versions wrote them.
    pub long_lines: u64,
}

/// A log, open for appending, by one process at a time.
pub(super) struct Log {
    directory: PathBuf,
    id: String,
    segment_limit: u64,
    file: File,
    path: PathBuf,
    number: u64,
    /// Bytes of the segment that belong to the chain; no caller was informed of anything after them.
    written: u64,
    /// Whether the last write failed: the file may then be longer than `written`.
    doubtful: bool,
    reserve: Reserve,
    chain: Chain,
    _lock: File,
}

impl Log {
    /// Opens the log in a directory, creating both when they do not exist.
    pub(super) fn open(
        directory: &Path,
        segment_limit: u64,
        remembered: Option<&Remembered>,
    ) -> Result<(Self, Opened), AuditError> {
        let flaw = |source| AuditError::io(format!("use {}", directory.display()), explained(directory, source));
        make_directory(directory).map_err(flaw)?;
        let lock = open_owned(directory, &directory.join("lock")).map_err(flaw)?;
        if !try_lock(&lock).map_err(flaw)? {
            return Err(AuditError::Held(directory.to_owned()));
        }
        let found = found::find(directory, remembered)?;
        // A segment without a first record was begun by a rotation that was never reported to a caller.
        for path in found.unbegun {
            fs::remove_file(&path).map_err(|source| AuditError::io(format!("remove {}", path.display()), source))?;
        }
        match found.log {
            None => Self::begin(directory, segment_limit, lock),
            Some(found) => Self::resume(directory, segment_limit, lock, found),
        }
    }

    fn begin(directory: &Path, segment_limit: u64, lock: File) -> Result<(Self, Opened), AuditError> {
        let id = uuid::Uuid::new_v4().to_string();
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
            chain: Chain::empty(),
            _lock: lock,
        };
        log.write(&[log.header()])?;
        let unremembered = Unremembered::default();
        Ok((log, Opened { size: 0, head: NOTHING, torn_bytes: 0, unsigned: 0, unremembered, long_lines: 0 }))
    }

    fn resume(directory: &Path, segment_limit: u64, lock: File, found: FoundLog) -> Result<(Self, Opened), AuditError> {
        let FoundLog { log: id, number, path, chain, whole, torn: torn_bytes, long_lines, unremembered } = found;
        let file = open_owned(directory, &path).map_err(|source| AuditError::io(format!("use {}", path.display()), source))?;
        let size = chain.size();
        let opened =
            Opened { size, head: chain.head, torn_bytes, unsigned: unsigned(size, chain.covered), unremembered, long_lines };
        let mut log = Self {
            directory: directory.to_owned(),
            id,
            segment_limit,
            file,
            path,
            number,
            written: whole,
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

    /// Returns the log's name in checkpoints.
    pub(super) fn origin(&self) -> &str {
        &self.id
    }

    /// Returns the number of records.
    pub(super) fn size(&self) -> u64 {
        self.chain.size()
    }

    /// Returns the hash of the last record.
    pub(super) fn head(&self) -> Hash {
        self.chain.head
    }

    /// Returns how far the log is written.
    pub(super) fn end(&self) -> LogEnd {
        LogEnd { segment: self.number, bytes: self.written, size: self.size() }
    }

    /// Reserves `bytes` of the disk for this log.
    pub(super) fn reserve(&mut self, bytes: u64) {
        self.reserve = Reserve::new(bytes);
        self.reserve.fill(&self.file, self.written);
    }

    /// Appends records; they are on the disk when this returns. Appends all or none: after a failure the next call truncates the
    /// file to its previous length.
    pub(super) fn append(&mut self, entries: &[Entry]) -> Result<Vec<Position>, AuditError> {
        self.prepare()?;
        self.write(entries)
    }

    /// Appends a record, and returns the head and the root of everything before it.
    pub(super) fn append_after_all(&mut self, entry: Entry) -> Result<Covered, AuditError> {
        self.prepare()?;
        let (head, root, size) = (self.chain.head, self.chain.frontier.root(), self.size());
        self.write(&[entry])?;
        Ok(Covered { size, head, root })
    }

    /// Writes the records that must precede the next one.
    fn prepare(&mut self) -> Result<(), AuditError> {
        self.truncate_torn_tail()?;
        let has_space = self.reserve.fill(&self.file, self.written);
        // A new segment would have no reserve, so the current one continues to grow.
        if self.written > self.segment_limit && has_space {
            self.rotate()?;
        }
        let back = self.chain.time - jiff::Timestamp::now().as_microsecond();
        if back > CLOCK_GRAIN_US {
            self.write(&[Entry::of(Event::ClockWentBack).with("seconds", back / 1_000_000)])?;
        }
        Ok(())
    }

    /// Checks that records can be appended: the file is the one that was written, and nothing else has written to it.
    pub(super) fn truncate_torn_tail(&mut self) -> Result<(), AuditError> {
        let flaw = |path: &Path, source| AuditError::io(format!("use {}", path.display()), source);
        let on_disk = fs::symlink_metadata(&self.path).map_err(|source| flaw(&self.path, source))?;
        let own = self.file.metadata().map_err(|source| flaw(&self.path, source))?;
        let broken = |what: &str| AuditError::Broken { file: self.path.clone(), what: what.to_owned() };
        if (on_disk.dev(), on_disk.ino()) != (own.dev(), own.ino()) {
            return Err(broken("its file was replaced"));
        }
        if own.len() < self.written || (!self.doubtful && own.len() != self.written) {
            return Err(broken("another process changed its length"));
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

    /// Begins the next segment. The old one is complete by then, and the new one's first record links the two.
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
        // Releases the reserve of the old segment.
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

fn new_segment(directory: &Path, number: u64) -> Result<(File, PathBuf), AuditError> {
    let path = directory.join(read::segment_name(number));
    let flaw = |source| AuditError::io(format!("make {}", path.display()), source);
    // An existing file was begun by a rotation that failed, and holds nothing that was reported to a caller.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(flaw(error)),
        _ => {}
    }
    let file = open_owned(directory, &path).map_err(flaw)?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(flaw)?;
    Ok((file, path))
}

/// Opens a file with access for its owner only, without following links. A file that root creates gets the owner of the directory,
/// because the service reads it, too.
fn open_owned(directory: &Path, path: &Path) -> io::Result<File> {
    Directory::open(directory)?.open_own(path.file_name().unwrap_or_default())
}
