//! Mirrors records into a directory as files that are complete under their final names.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, Instant},
};

use super::cursor::{Cursor, Part};

/// Length in bytes, and age, at which an object is written.
const OBJECT_BYTES: u64 = 1 << 20;
const OBJECT_AGE: Duration = Duration::from_secs(10);

pub(super) fn is_due(part: &Part, cursor: &Cursor, since: Instant, ended: bool) -> bool {
    ended || part.end - cursor.offset >= OBJECT_BYTES || since.elapsed() >= OBJECT_AGE
}

/// Writes a file under a temporary name and renames it, so that a reader of the directory never sees a partial file. Its name sorts by time.
pub(super) fn put(directory: &Path, part: &Part, cursor: &mut Cursor) -> io::Result<()> {
    let name = format!("{:.3}-{}.jsonl", jiff::Timestamp::now(), uuid::Uuid::now_v7());
    let aside = directory.join(format!(".{name}"));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    let written = lines(part, cursor.offset, &mut file).and_then(|counted| {
        file.sync_data()?;
        fs::rename(&aside, directory.join(&name))?;
        Ok(counted)
    });
    match written {
        Ok((bytes, records)) => {
            cursor.offset += bytes;
            cursor.seq += records;
            Ok(())
        }
        Err(error) => {
            let _ = fs::remove_file(&aside);
            Err(error)
        }
    }
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
