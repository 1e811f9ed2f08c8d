//! Mirrors records into a directory as files that are complete under their final names.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::Path,
    time::{Duration, Instant},
};

use stationmaster_system::files::{Directory, NewFile};

use super::cursor::{Cursor, Part};

/// Length in bytes, and age, at which an object is written.
const OBJECT_BYTES: u64 = 1 << 20;
const OBJECT_AGE: Duration = Duration::from_secs(10);

pub(super) fn is_due(part: &Part, cursor: &Cursor, since: Instant, ended: bool) -> bool {
    ended || part.end - cursor.offset >= OBJECT_BYTES || since.elapsed() >= OBJECT_AGE
}

/// Writes a file that gets its name when it is complete, so that a reader of the directory never sees a partial one. Its name
/// sorts by time.
pub(super) fn put(directory: &Path, part: &Part, cursor: &mut Cursor) -> io::Result<()> {
    let name = format!("{:.3}-{}.jsonl", jiff::Timestamp::now(), uuid::Uuid::now_v7());
    let mut file = NewFile::begin(&Directory::open(directory)?, name, 0o600)?;
    let (bytes, records) = lines(part, cursor.offset, &mut file)?;
    // Not every file system for object stores can sync a directory.
    file.sync()?.publish_unsynced()?;
    cursor.offset += bytes;
    cursor.seq += records;
    Ok(())
}

/// Copies whole lines, up to about the length of an object; returns the number of bytes and of lines.
fn lines(part: &Part, from: u64, to: &mut impl Write) -> io::Result<(u64, u64)> {
    let mut file = File::open(&part.path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut reader = BufReader::with_capacity(64 * 1024, file.take(part.end - from));
    let (mut bytes, mut records) = (0_u64, 0_u64);
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok((bytes, records));
        }
        let line_end = buffer.iter().position(|byte| *byte == b'\n');
        let length = line_end.map_or(buffer.len(), |end| end + 1);
        to.write_all(&buffer[..length])?;
        reader.consume(length);
        bytes += length as u64;
        if line_end.is_some() {
            records += 1;
            if bytes >= OBJECT_BYTES {
                return Ok((bytes, records));
            }
        }
    }
}
