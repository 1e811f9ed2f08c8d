//! Position of a mirror in the log, stored in the log's directory so that the mirror continues from there after a restart.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use serde::{Deserialize, Serialize};
use stationmaster_system::files::{Directory, NewFile};

use super::{LogEnd, MirroredLog, SinkKind};
use crate::audit::read;

/// Name of the file, in the directory of the log's segments.
const FILE: &str = "second.json";

/// A position in the log: everything before it was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub segment: u64,
    pub offset: u64,
    /// Number of the record that begins there.
    pub seq: u64,
}

/// The stored form.
#[derive(Serialize, Deserialize)]
struct Kept {
    log: String,
    sink: String,
    segment: u64,
    offset: u64,
    seq: u64,
}

/// A part of a segment that is on the disk but not delivered yet.
pub(super) struct Part {
    pub path: PathBuf,
    /// Offset of its end.
    pub end: u64,
}

fn file(copied: &MirroredLog) -> Option<PathBuf> {
    Some(copied.directories.last()?.join(FILE))
}

fn name(sink: &SinkKind) -> String {
    match sink {
        SinkKind::File(path) => format!("file {}", path.display()),
        SinkKind::Syslog(path) => format!("syslog {}", path.display()),
        SinkKind::Directory(path) => format!("directory {}", path.display()),
    }
}

impl Cursor {
    /// Returns the stored position of this sink in this log; the beginning when it is unknown.
    pub(super) fn load(copied: &MirroredLog, sink: &SinkKind) -> Self {
        let file = file(copied);
        if let Some((directory, name)) = file.as_deref().and_then(|file| Directory::of_file(file).ok()) {
            let _ = directory.clear(name);
        }
        let kept = file.and_then(|file| fs::read(file).ok());
        let kept = kept.and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
        match kept.filter(|kept| kept.log == copied.log && kept.sink == name(sink)) {
            Some(Kept { segment, offset, seq, .. }) => Self { segment, offset, seq },
            None => Self { segment: 1, offset: 0, seq: 0 },
        }
    }

    pub(super) fn save(&self, copied: &MirroredLog, sink: &SinkKind) -> io::Result<()> {
        let Some(file) = file(copied) else { return Ok(()) };
        let Self { segment, offset, seq } = *self;
        let kept = Kept { log: copied.log.clone(), sink: name(sink), segment, offset, seq };
        let (directory, name) = Directory::of_file(&file)?;
        let mut to = NewFile::begin(&directory, name, 0o600)?;
        to.write_all(serde_json::to_string(&kept)?.as_bytes())?;
        // Not synced: it is written after each batch, and records behind an older position are only sent again.
        to.publish_unsynced()
    }

    /// Returns the next part; moves on to the next segment at the end of one.
    pub(super) fn next_part(&mut self, copied: &MirroredLog, end: LogEnd, lost: &AtomicU64) -> io::Result<Option<Part>> {
        while self.segment <= end.segment {
            let is_last = self.segment == end.segment;
            if is_last && self.offset >= end.bytes {
                return Ok(None);
            }
            let name = read::segment_name(self.segment);
            let found = copied.directories.iter().rev().map(|directory| directory.join(&name)).find(|path| path.exists());
            let Some(path) = found else {
                if self.skip(copied, lost)? {
                    continue;
                }
                return Ok(None);
            };
            let length = if is_last { end.bytes } else { fs::metadata(&path)?.len() };
            if self.offset < length {
                return Ok(Some(Part { path, end: length }));
            }
            (self.segment, self.offset) = (self.segment + 1, 0);
        }
        Ok(None)
    }

    /// Continues with the next existing segment.
    fn skip(&mut self, copied: &MirroredLog, lost: &AtomicU64) -> io::Result<bool> {
        let directories: Vec<_> = copied.directories.iter().filter(|directory| directory.is_dir()).cloned().collect();
        let segments = read::segments_of(&directories).map_err(|error| io::Error::other(error.to_string()))?;
        let Some((number, path)) = segments.into_iter().find(|(number, _)| *number > self.segment) else { return Ok(false) };
        let mut segment = read::Segment::open(&path).map_err(|error| io::Error::other(error.to_string()))?;
        let first = segment.next_record().map_err(|error| io::Error::other(error.to_string()))?;
        let seq = first.map_or(self.seq, |line| line.record.seq);
        lost.fetch_add(seq.saturating_sub(self.seq), Ordering::AcqRel);
        *self = Self { segment: number, offset: 0, seq };
        Ok(true)
    }
}
