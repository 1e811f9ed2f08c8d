//! The second sink: where records go besides. It may be slow, full or gone without holding up anybody; then that is said.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::{fs::OpenOptionsExt, net::UnixDatagram},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use super::AuditError;

/// Batches of records that may wait for a sink.
const QUEUE: usize = 1024;
/// An object is written when it is this long, in bytes, or this old.
const OBJECT_BYTES: usize = 1 << 20;
const OBJECT_AGE: Duration = Duration::from_secs(10);

/// Where records go besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecondSink {
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
    pub lost: u64,
    pub why: Option<&'static str>,
}

/// The sink's thread, as the writer sees it.
pub(super) struct Second {
    queue: Sender<Vec<u8>>,
    thread: JoinHandle<()>,
    state: Arc<State>,
    timeout: Duration,
    lost: u64,
    said: bool,
}

#[derive(Default)]
struct State {
    /// Milliseconds since the thread began, plus one, when it took on what it is at; 0 when it waits.
    busy_since: AtomicU64,
    failing: AtomicBool,
    lost: AtomicU64,
}

impl Second {
    pub fn start(sink: SecondSink) -> Result<Self, AuditError> {
        let (queue, batches) = bounded(QUEUE);
        let state = Arc::new(State::default());
        let (kind, seen, timeout) = (sink.kind, Arc::clone(&state), sink.timeout);
        let thread = std::thread::Builder::new()
            .name("audit-second".to_owned())
            .spawn(move || work(&kind, timeout, &batches, &seen))
            .map_err(|source| AuditError::io("start the second sink's thread", source))?;
        Ok(Self { queue, thread, state, timeout, lost: 0, said: true })
    }

    /// Hands lines on. Never waits.
    pub fn pass(&mut self, lines: Vec<u8>) {
        if lines.is_empty() {
            return;
        }
        if let Err(TrySendError::Full(lines) | TrySendError::Disconnected(lines)) = self.queue.try_send(lines) {
            self.lost += count(&lines);
        }
    }

    /// What has changed since it was last asked.
    pub fn report(&mut self) -> Option<Report> {
        let since = self.state.busy_since.load(Ordering::Acquire);
        let slow = since != 0 && Duration::from_millis(clock_ms().saturating_sub(since)) > self.timeout;
        let failing = self.state.failing.load(Ordering::Acquire);
        let keeps_up = !slow && !failing && !self.queue.is_full();
        if keeps_up == self.said {
            return None;
        }
        self.said = keeps_up;
        let lost = std::mem::take(&mut self.lost) + self.state.lost.swap(0, Ordering::AcqRel);
        let why = if failing {
            "it fails"
        } else if slow {
            "it does not answer"
        } else {
            "it is too slow"
        };
        if keeps_up {
            tracing::info!(lost, "the audit's second sink keeps up again");
        } else {
            tracing::error!(why, "the audit's second sink does not keep up");
        }
        Some(Report { keeps_up, lost, why: (!keeps_up).then_some(why) })
    }

    /// Gives it a moment for what it still has; one that hangs is left behind.
    pub fn finish(self) {
        drop(self.queue);
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

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Milliseconds of a clock that only goes forward, never 0.
fn clock_ms() -> u64 {
    static BEGUN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    u64::try_from(BEGUN.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

fn work(kind: &SinkKind, timeout: Duration, batches: &Receiver<Vec<u8>>, state: &State) {
    let mut objects = Object::default();
    let attempt = |what: &mut dyn FnMut() -> io::Result<()>, lines: u64| {
        state.busy_since.store(clock_ms(), Ordering::Release);
        let outcome = what();
        state.busy_since.store(0, Ordering::Release);
        state.failing.store(outcome.is_err(), Ordering::Release);
        if let Err(error) = outcome {
            state.lost.fetch_add(lines, Ordering::AcqRel);
            tracing::debug!(%error, "the audit's second sink");
        }
    };
    loop {
        let ended = match batches.recv_timeout(Duration::from_secs(1)) {
            Ok(lines) => {
                let number = count(&lines);
                match kind {
                    SinkKind::File(path) => attempt(&mut || append(path, &lines), number),
                    SinkKind::Syslog(path) => attempt(&mut || syslog(path, timeout, &lines), number),
                    SinkKind::Directory(_) => objects.take(&lines),
                }
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        };
        if let SinkKind::Directory(directory) = kind
            && objects.is_due(ended)
        {
            attempt(&mut || objects.put(directory), count(&objects.lines));
            objects = Object::default();
        }
        if ended {
            return;
        }
    }
}

/// Opened for each batch: a file that was moved away is made anew, as rotation of logs expects.
fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)?.write_all(lines)
}

fn syslog(path: &Path, timeout: Duration, lines: &[u8]) -> io::Result<()> {
    /// Facility "log audit" (13), severity "notice" (5).
    const PRIORITY: u8 = 13 * 8 + 5;
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(timeout))?;
    socket.connect(path)?;
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let mut message =
            format!("<{PRIORITY}>1 {:.6} - stationmaster {} audit - ", jiff::Timestamp::now(), std::process::id()).into_bytes();
        message.extend_from_slice(line);
        socket.send(&message)?;
    }
    Ok(())
}

/// Lines on their way into one file.
#[derive(Default)]
struct Object {
    lines: Vec<u8>,
    since: Option<Instant>,
}

impl Object {
    fn take(&mut self, lines: &[u8]) {
        self.since.get_or_insert_with(Instant::now);
        self.lines.extend_from_slice(lines);
    }

    fn is_due(&self, ended: bool) -> bool {
        !self.lines.is_empty()
            && (ended || self.lines.len() >= OBJECT_BYTES || self.since.is_some_and(|since| since.elapsed() >= OBJECT_AGE))
    }

    /// Written aside and renamed: whoever ships the directory never sees half a file.
    fn put(&self, directory: &Path) -> io::Result<()> {
        let name = format!("{:.3}-{}.jsonl", jiff::Timestamp::now(), uuid::Uuid::now_v7());
        let aside = directory.join(format!(".{name}"));
        let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
        file.write_all(&self.lines)?;
        file.sync_data()?;
        fs::rename(&aside, directory.join(name))
    }
}
