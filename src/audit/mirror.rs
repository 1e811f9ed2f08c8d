//! Best-effort mirror of the audit log to a file, a directory or syslog. The mirror reads the records from the log itself, so that it
//! never delays the log when it is slow, full or unavailable, and receives what it missed when it is available again.

mod cursor;
mod object;
mod sinks;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use self::cursor::Cursor;
use super::AuditError;

/// Delay after a failure before the next attempt.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Number of outstanding records above which the delay is reported.
const BEHIND: u64 = 10_000;

/// A mirror that receives a copy of the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The kind of sink.
    pub kind: SinkKind,
    /// Time for one batch; a sink that takes longer is reported as not keeping up.
    pub timeout: Duration,
}

/// Kinds of sinks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkKind {
    /// A file that is appended to.
    File(PathBuf),
    /// A syslog socket (`/dev/log`), RFC 5424, one message per record.
    Syslog(PathBuf),
    /// A directory that receives a file every ten seconds or MiB, complete under its final name, as input for object stores.
    Directory(PathBuf),
}

/// State of the mirror, to be reported in the log.
pub(super) struct Report {
    pub keeps_up: bool,
    /// Records that it cannot receive because their segments no longer exist.
    pub lost: u64,
    /// Records of which it received only number and hash, because they are longer than the sink accepts.
    pub replaced: u64,
    /// Records that it has not received yet.
    pub behind: u64,
    pub why: Option<&'static str>,
}

/// How far the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LogEnd {
    /// The segment's number.
    pub segment: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Number of records in the log.
    pub size: u64,
}

/// The log that is copied.
#[derive(Clone, Debug)]
pub(super) struct MirroredLog {
    /// Directories of its segments: the archive, if there is one, and the log's own directory.
    pub directories: Vec<PathBuf>,
    /// The log's id.
    pub log: String,
}

/// The mirror's thread, as seen by the writer.
pub(super) struct MirrorThread {
    wake: Sender<()>,
    thread: JoinHandle<()>,
    state: Arc<State>,
    timeout: Duration,
    was_keeping_up: bool,
}

#[derive(Default)]
struct State {
    end: Mutex<LogEnd>,
    /// Milliseconds since the thread began, plus one, when it started its current batch; 0 when it waits.
    busy_since: AtomicU64,
    failing: AtomicBool,
    /// Number of records delivered.
    size: AtomicU64,
    lost: AtomicU64,
    replaced: AtomicU64,
}

impl State {
    fn end(&self) -> LogEnd {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MirrorThread {
    pub(super) fn start(sink: Mirror, copied: MirroredLog, end: LogEnd) -> Result<Self, AuditError> {
        let (wake, woken) = bounded(1);
        let state = Arc::new(State { end: Mutex::new(end), size: AtomicU64::new(end.size), ..State::default() });
        let (seen, timeout) = (Arc::clone(&state), sink.timeout);
        let thread = std::thread::Builder::new()
            .name("audit-second".to_owned())
            .spawn(move || Worker { sink, copied, state: seen }.run(&woken))
            .map_err(|source| AuditError::io("start the mirror's thread", source))?;
        Ok(Self { wake, thread, state, timeout, was_keeping_up: true })
    }

    /// Tells the thread how far the log is written. Never blocks.
    pub(super) fn pass(&self, end: LogEnd) {
        *self.state.end.lock().unwrap_or_else(PoisonError::into_inner) = end;
        // A full channel means that it is awake already.
        let _ = self.wake.try_send(());
    }

    /// Returns the changes since the last call.
    pub(super) fn report(&mut self) -> Option<Report> {
        let since = self.state.busy_since.load(Ordering::Acquire);
        let slow = since != 0 && Duration::from_millis(clock_ms().saturating_sub(since)) > self.timeout;
        let failing = self.state.failing.load(Ordering::Acquire);
        let behind = self.state.end().size.saturating_sub(self.state.size.load(Ordering::Acquire));
        let keeps_up = !slow && !failing && behind <= BEHIND;
        let lost = self.state.lost.swap(0, Ordering::AcqRel);
        let replaced = self.state.replaced.swap(0, Ordering::AcqRel);
        if keeps_up == self.was_keeping_up && lost == 0 && replaced == 0 {
            return None;
        }
        let why = if failing {
            "it fails"
        } else if slow {
            "it does not respond"
        } else {
            "it is too slow"
        };
        match (keeps_up, self.was_keeping_up) {
            (true, false) => tracing::info!("the audit mirror keeps up again"),
            (false, true) => tracing::error!(why, behind, "the audit mirror does not keep up"),
            _ => {}
        }
        if lost + replaced > 0 {
            tracing::error!(lost, replaced, "the audit mirror has not received every record completely");
        }
        self.was_keeping_up = keeps_up;
        Some(Report { keeps_up, lost, replaced, behind, why: (!keeps_up).then_some(why) })
    }

    /// Waits briefly for the remaining records; a sink that hangs is abandoned, and receives the rest after the next start.
    pub(super) fn finish(self) {
        drop(self.wake);
        let begun = Instant::now();
        while !self.thread.is_finished() && begun.elapsed() < self.timeout {
            std::thread::sleep(Duration::from_millis(5));
        }
        if self.thread.is_finished() {
            let _ = self.thread.join();
        } else {
            tracing::error!("the audit mirror has not received the last records");
        }
    }
}

/// Returns milliseconds of a monotonic clock, never 0.
fn clock_ms() -> u64 {
    static BEGUN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    u64::try_from(BEGUN.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

struct Worker {
    sink: Mirror,
    copied: MirroredLog,
    state: Arc<State>,
}

impl Worker {
    fn run(self, woken: &Receiver<()>) {
        let mut cursor = None;
        let mut failed: Option<Instant> = None;
        let mut waiting_since = None;
        let mut cause = None;
        let mut ended = false;
        while !ended {
            ended = matches!(woken.recv_timeout(AGAIN_AFTER), Err(RecvTimeoutError::Disconnected));
            if !ended && failed.is_some_and(|failed| failed.elapsed() < AGAIN_AFTER) {
                continue;
            }
            self.state.busy_since.store(clock_ms(), Ordering::Release);
            let outcome = self.deliver(&mut cursor, &mut waiting_since, ended);
            self.state.busy_since.store(0, Ordering::Release);
            self.state.failing.store(outcome.is_err(), Ordering::Release);
            failed = outcome.is_err().then(Instant::now);
            let failure = outcome.err().map(|error| error.to_string());
            if let Some(error) = failure.as_ref().filter(|failure| cause.as_ref() != Some(*failure)) {
                tracing::warn!(%error, "the audit mirror fails");
            }
            cause = failure;
        }
    }

    /// Delivers the part of the log after the cursor.
    fn deliver(&self, cursor: &mut Option<Cursor>, waiting_since: &mut Option<Instant>, ended: bool) -> std::io::Result<()> {
        let cursor = match cursor {
            Some(cursor) => cursor,
            None => {
                let found = sinks::begin(&self.sink.kind, &self.copied)?;
                self.state.size.store(found.seq, Ordering::Release);
                cursor.insert(found)
            }
        };
        loop {
            // The time limit applies to each batch.
            self.state.busy_since.store(clock_ms(), Ordering::Release);
            let end = self.state.end();
            let Some(part) = cursor.next_part(&self.copied, end, &self.state.lost)? else { return Ok(()) };
            let outcome = match &self.sink.kind {
                SinkKind::File(path) => sinks::append(path, &part, cursor),
                SinkKind::Syslog(path) => sinks::syslog(path, self.sink.timeout, &part, cursor, &self.state.replaced),
                SinkKind::Directory(path) => {
                    let since = *waiting_since.get_or_insert_with(Instant::now);
                    if !object::is_due(&part, cursor, since, ended) {
                        return Ok(());
                    }
                    let put = object::put(path, &part, cursor);
                    *waiting_since = None;
                    put
                }
            };
            self.state.size.store(cursor.seq, Ordering::Release);
            // Parts delivered before a failure are not delivered again.
            cursor.save(&self.copied, &self.sink.kind)?;
            outcome?;
        }
    }
}
