//! The log: standard error, lines for people or JSON. Never a payload, a key or a PIN.
//!
//! Where standard error is the journal, each line begins with its priority (`sd-daemon(3)`). Where it may be a pipe or a terminal that is
//! read by nobody, lines go through a thread of their own while the service runs: what finds no place in its queue is lost and counted, and
//! holds up neither a call nor the end.

use std::{
    io::{self, IsTerminal, Write},
    sync::{
        RwLock,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    time::Duration,
};

use tracing::{Level, Metadata};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt};

use super::ServerError;
use crate::config::{Log, LogFormat};

/// Lines that may wait for a reader.
const WAITING: usize = 4096;
/// How long the last lines may take at the end.
const LAST: Duration = Duration::from_secs(1);

/// Starts the log, once per process.
///
/// # Errors
/// When the filter cannot be read, or there is a log already.
pub fn start(log: &Log) -> Result<(), ServerError> {
    let flaw = |error: &dyn std::fmt::Display| ServerError::Setup(format!("log: {error}"));
    let filter = EnvFilter::try_new(&log.filter).map_err(|error| flaw(&error))?;
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Pretty => false,
        LogFormat::Auto => !io::stderr().is_terminal(),
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(Lines { prioritised: is_journal() });
    let registry = tracing_subscriber::registry().with(filter);
    if json {
        registry.with(lines.json().flatten_event(true)).try_init()
    } else {
        registry.with(lines.with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())).try_init()
    }
    .map_err(|error| flaw(&error))
}

/// Whether standard error is the stream to the journal that systemd has named.
fn is_journal() -> bool {
    let named = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    rustix::fs::fstat(io::stderr()).is_ok_and(|facts| named == format!("{}:{}", facts.st_dev, facts.st_ino))
}

/// The queue to the thread that writes, while there is one.
static QUEUE: RwLock<Option<SyncSender<Piece>>> = RwLock::new(None);
static LOST: AtomicU64 = AtomicU64::new(0);

enum Piece {
    Line(Vec<u8>),
    /// All lines before this are written.
    End(SyncSender<()>),
}

/// Lines are written by a thread of their own until this is dropped, unless standard error is a file, which takes them at once.
#[must_use]
pub(super) fn in_background() -> Background {
    let is_file = rustix::fs::fstat(io::stderr())
        .is_ok_and(|facts| rustix::fs::FileType::from_raw_mode(facts.st_mode) == rustix::fs::FileType::RegularFile);
    if !is_file {
        let (sender, receiver) = sync_channel(WAITING);
        if std::thread::Builder::new().name("log".into()).spawn(move || write_all(&receiver)).is_ok() {
            set_queue(Some(sender));
        }
    }
    Background(())
}

/// The thread's life; see [`in_background`].
pub(super) struct Background(());

impl Drop for Background {
    fn drop(&mut self) {
        let Some(queue) = set_queue(None) else { return };
        let (done, written) = sync_channel(1);
        // A queue that is full has no reader: nothing more can be said.
        if queue.try_send(Piece::End(done)).is_ok() {
            let _ = written.recv_timeout(LAST);
        }
    }
}

fn set_queue(queue: Option<SyncSender<Piece>>) -> Option<SyncSender<Piece>> {
    let mut place = QUEUE.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    std::mem::replace(&mut *place, queue)
}

fn write_all(pieces: &Receiver<Piece>) {
    for piece in pieces {
        match piece {
            Piece::Line(line) => drop(io::stderr().write_all(&line)),
            Piece::End(done) => drop(done.send(())),
        }
        let lost = LOST.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(io::stderr(), "{lost} lines of the log were lost: they were not read as fast as they came");
        }
    }
}

/// Makes the writer of each line.
struct Lines {
    prioritised: bool,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { priority: None }
    }

    fn make_writer_for(&'a self, facts: &Metadata<'_>) -> Line {
        Line { priority: self.prioritised.then(|| priority(*facts.level())) }
    }
}

/// As `syslog(3)` numbers them.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// One line, which is written at once.
struct Line {
    priority: Option<u8>,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut line = self.priority.map(|priority| format!("<{priority}>").into_bytes()).unwrap_or_default();
        line.extend_from_slice(bytes);
        let queue = QUEUE.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        match &*queue {
            None => io::stderr().write_all(&line)?,
            Some(queue) => {
                if let Err(TrySendError::Full(_)) = queue.try_send(Piece::Line(line)) {
                    LOST.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
