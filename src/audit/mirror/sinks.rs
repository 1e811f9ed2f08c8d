//! Mirrors records to a file and to syslog.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::net::UnixDatagram,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use stationmaster_system::files::open_to_append;

use super::{
    MirroredLog, SinkKind,
    cursor::{Cursor, Part},
};
use crate::audit::read::{self, Line, Segment, Text};

/// Bytes that are appended at once.
const CHUNK: u64 = 1 << 20;
/// Number of messages after which the position is stored.
const MESSAGES: u64 = 256;
/// Bytes before the end of a copy in which its last record is searched.
const LAST_RECORD: u64 = 2 << 20;

fn other(error: impl ToString) -> io::Error {
    io::Error::other(error.to_string())
}

/// Returns an error with the file that it is about.
fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Returns where a sink continues: its stored position or, for a file that holds more of the log, the position after its contents.
pub(super) fn begin(kind: &SinkKind, copied: &MirroredLog) -> io::Result<Cursor> {
    let cursor = Cursor::load(copied, kind);
    let SinkKind::File(path) = kind else { return Ok(cursor) };
    let file = match open_to_append(path, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(cursor),
        other => other.map_err(|error| named(path, &error))?,
    };
    let Some(last) = last_line(file)? else { return Ok(cursor) };
    Ok(behind(&cursor, copied, &last)?.unwrap_or(cursor))
}

/// Returns the last whole line of a copy. Removes a partial line after it, left by an interrupted write.
fn last_line(mut file: File) -> io::Result<Option<Vec<u8>>> {
    let length = file.metadata()?.len();
    let start = length.saturating_sub(LAST_RECORD);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    Read::by_ref(&mut file).take(LAST_RECORD).read_to_end(&mut tail)?;
    let Some(end) = tail.iter().rposition(|byte| *byte == b'\n') else { return Ok(None) };
    if end + 1 < tail.len() {
        file.set_len(start + end as u64 + 1)?;
    }
    tail.truncate(end);
    let begin = tail.iter().rposition(|byte| *byte == b'\n').map(|newline| newline + 1);
    match begin {
        Some(begin) => Ok(Some(tail.split_off(begin))),
        None if start == 0 => Ok(Some(tail)),
        None => Ok(None),
    }
}

/// Returns the position after a record of the log, searched from `from` on; `None` when it is not found.
fn behind(from: &Cursor, copied: &MirroredLog, line: &[u8]) -> io::Result<Option<Cursor>> {
    let wanted = crate::audit::leaf_hash(line);
    let directories: Vec<_> = copied.directories.iter().filter(|directory| directory.is_dir()).cloned().collect();
    for (number, path) in read::segments_of(&directories).map_err(other)? {
        if number < from.segment {
            continue;
        }
        let offset = if number == from.segment { from.offset } else { 0 };
        let mut segment = Segment::open_at(&path, offset).map_err(other)?;
        while let Some(line) = segment.next_record().map_err(other)? {
            if line.hash == wanted {
                return Ok(Some(Cursor { segment: number, offset: offset + segment.whole(), seq: line.record.seq + 1 }));
            }
        }
    }
    Ok(None)
}

/// Appends bytes unchanged. Opens the file each time: a file that was moved is created again, as log rotation expects.
pub(super) fn append(path: &Path, part: &Part, cursor: &mut Cursor) -> io::Result<()> {
    let mut bytes = Vec::new();
    let mut from = File::open(&part.path)?;
    from.seek(SeekFrom::Start(cursor.offset))?;
    from.take((part.end - cursor.offset).min(CHUNK)).read_to_end(&mut bytes)?;
    let mut to = open_to_append(path, true).map_err(|error| named(path, &error))?;
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let written = match to.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        // After a write that a full disk cut short, the next one continues from there.
        cursor.seq += rest[..written].iter().filter(|byte| **byte == b'\n').count() as u64;
        cursor.offset += written as u64;
        rest = &rest[written..];
    }
    Ok(())
}

/// Sends a message for each record. A record too long for a datagram is replaced by its number and hash.
pub(super) fn syslog(path: &Path, timeout: Duration, part: &Part, cursor: &mut Cursor, replaced: &AtomicU64) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(timeout))?;
    socket.connect(path)?;
    let from = cursor.offset;
    let mut segment = Segment::open_at(&part.path, from).map_err(other)?;
    for _ in 0..MESSAGES {
        let Some(line) = segment.next_record().map_err(other)? else { return Ok(()) };
        // Bytes beyond are not on the disk yet.
        if from + segment.whole() > part.end {
            return Ok(());
        }
        let sent = match &line.text {
            Text::Whole(text) => send(&socket, text),
            Text::TooLong { .. } => Err(rustix::io::Errno::MSGSIZE.into()),
        };
        match sent {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) => {
                send(&socket, stub(&line).as_bytes())?;
                replaced.fetch_add(1, Ordering::AcqRel);
            }
            other => other?,
        }
        (cursor.offset, cursor.seq) = (from + segment.whole(), line.record.seq + 1);
        if cursor.offset >= part.end {
            return Ok(());
        }
    }
    Ok(())
}

fn send(socket: &UnixDatagram, line: &[u8]) -> io::Result<()> {
    /// Facility "log audit" (13), severity "notice" (5).
    const PRIORITY: u8 = 13 * 8 + 5;
    let mut message =
        format!("<{PRIORITY}>1 {:.6} - stationmaster {} audit - ", jiff::Timestamp::now(), std::process::id()).into_bytes();
    message.extend_from_slice(line);
    socket.send(&message).map(drop)
}

/// Returns the replacement for a record that is too long.
fn stub(line: &Line) -> String {
    let bytes = match &line.text {
        Text::Whole(text) => text.len() as u64,
        Text::TooLong { bytes, .. } => *bytes,
    };
    serde_json::json!({
        "seq": line.record.seq,
        "time": line.record.time,
        "prev": line.record.prev,
        "event": line.record.entry.event,
        "replaced": { "bytes": bytes, "hash": const_hex::encode(line.hash) },
    })
    .to_string()
}
