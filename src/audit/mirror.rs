//! The second sink: where records go besides. It reads them from the log itself, so that it may be slow, full or gone without holding up
//! anything, and gets what it missed when it is back.

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

/// How long after a failure it is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Records that it may be behind before that is said.
const BEHIND: u64 = 10_000;

/// Where records go besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// What it is.
    pub kind: SinkKind,
    /// How long it may take for one batch before it counts as not keeping up.
    pub timeout: Duration,
}

/// What kinds of sinks there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkKind {
    /// A file that is appended to.
    File(PathBuf),
    /// A syslog socket (`/dev/log`), RFC 5424, one message a record.
    Syslog(PathBuf),
    /// A directory that gets a file every ten seconds or MiB, complete under its name: what object stores are fed from.
    Directory(PathBuf),
}

/// What is to be said of it in the log.
pub(super) struct Report {
    pub keeps_up: bool,
    /// Records that it will not get: their segments are gone.
    pub lost: u64,
    /// Records of which it got number and hash alone: they are longer than it takes.
    pub replaced: u64,
    /// Records that it has not got yet.
    pub behind: u64,
    pub why: Option<&'static str>,
}

/// How far the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct End {
    /// The segment's number.
    pub segment: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Records in the log.
    pub size: u64,
}

/// The log that is copied.
#[derive(Clone, Debug)]
pub(super) struct Copied {
    /// Where its segments are: the archive, where there is one, and its own directory.
    pub directories: Vec<PathBuf>,
    /// Its id.
    pub log: String,
}

/// The sink's thread, as the writer sees it.
pub(super) struct Second {
    wake: Sender<()>,
    thread: JoinHandle<()>,
    state: Arc<State>,
    timeout: Duration,
    said: bool,
}

#[derive(Default)]
struct State {
    end: Mutex<End>,
    /// Milliseconds since the thread began, plus one, when it took on what it is at; 0 when it waits.
    busy_since: AtomicU64,
    failing: AtomicBool,
    /// Records that it has.
    size: AtomicU64,
    lost: AtomicU64,
    replaced: AtomicU64,
}

impl State {
    fn end(&self) -> End {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Second {
    pub fn start(sink: Mirror, copied: Copied, end: End) -> Result<Self, AuditError> {
        let (wake, woken) = bounded(1);
        let state = Arc::new(State { end: Mutex::new(end), size: AtomicU64::new(end.size), ..State::default() });
        let (seen, timeout) = (Arc::clone(&state), sink.timeout);
        let thread = std::thread::Builder::new()
            .name("audit-second".to_owned())
            .spawn(move || Worker { sink, copied, state: seen }.run(&woken))
            .map_err(|source| AuditError::io("start the second sink's thread", source))?;
        Ok(Self { wake, thread, state, timeout, said: true })
    }

    /// Says how far the log is. Never waits.
    pub fn pass(&self, end: End) {
        *self.state.end.lock().unwrap_or_else(PoisonError::into_inner) = end;
        // It is awake already when there is no room.
        let _ = self.wake.try_send(());
    }

    /// What has changed since it was last asked.
    pub fn report(&mut self) -> Option<Report> {
        let since = self.state.busy_since.load(Ordering::Acquire);
        let slow = since != 0 && Duration::from_millis(clock_ms().saturating_sub(since)) > self.timeout;
        let failing = self.state.failing.load(Ordering::Acquire);
        let behind = self.state.end().size.saturating_sub(self.state.size.load(Ordering::Acquire));
        let keeps_up = !slow && !failing && behind <= BEHIND;
        let lost = self.state.lost.swap(0, Ordering::AcqRel);
        let replaced = self.state.replaced.swap(0, Ordering::AcqRel);
        if keeps_up == self.said && lost == 0 && replaced == 0 {
            return None;
        }
        let why = if failing {
            "it fails"
        } else if slow {
            "it does not answer"
        } else {
            "it is too slow"
        };
        match (keeps_up, self.said) {
            (true, false) => tracing::info!("the audit's second sink keeps up again"),
            (false, true) => tracing::error!(why, behind, "the audit's second sink does not keep up"),
            _ => {}
        }
        if lost + replaced > 0 {
            tracing::error!(lost, replaced, "the audit's second sink has not got every record whole");
        }
        self.said = keeps_up;
        Some(Report { keeps_up, lost, replaced, behind, why: (!keeps_up).then_some(why) })
    }

    /// Gives it a moment for what it still has; one that hangs is left behind, and gets the rest after the next start.
    pub fn finish(self) {
        drop(self.wake);
        let begun = Instant::now();
        while !self.thread.is_finished() && begun.elapsed() < self.timeout {
            std::thread::sleep(Duration::from_millis(5));
        }
        if self.thread.is_finished() {
            let _ = self.thread.join();
        } else {
            tracing::error!("the audit's second sink has not taken the last records");
        }
    }
}

/// Milliseconds of a clock that only goes forward, never 0.
fn clock_ms() -> u64 {
    static BEGUN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    u64::try_from(BEGUN.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

struct Worker {
    sink: Mirror,
    copied: Copied,
    state: Arc<State>,
}

impl Worker {
    fn run(self, woken: &Receiver<()>) {
        let mut cursor = None;
        let mut failed: Option<Instant> = None;
        let mut waiting_since = None;
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
            if let Err(error) = outcome {
                tracing::debug!(%error, "the audit's second sink");
            }
        }
    }

    /// Hands on what the log has beyond the cursor.
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
            // Each batch has its own time.
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
            // What was delivered before a failure is not delivered again.
            cursor.save(&self.copied, &self.sink.kind)?;
            outcome?;
        }
    }
}
