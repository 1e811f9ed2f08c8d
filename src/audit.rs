//! Append-only audit log whose records form a hash chain, so that any later change is detected.
//!
//! One JSON record per line. Each record contains the hash of the record before it, so that no record can be changed, removed or
//! moved without changing all later ones. At intervals a [`checkpoint`] signs the head of the chain with a key in the token. A record
//! is on the disk (`fdatasync`) before [`Audit::record`] returns: an operation that must not happen unrecorded waits for it.
//!
//! ```text
//! audit/service/00000001.jsonl      the service's records, one segment after the other
//! audit/officer/00000001.jsonl      those of administrators' commands
//! ```
//!
//! Each directory is one chain with its own log id and one writing process at a time. The hashes are those of RFC 6962 (a
//! record's line, without its newline, is a leaf), so that other tools can prove inclusion against a checkpoint's root.

mod administrators;
pub mod archive;
mod bound;
mod chain;
pub mod checkpoint;
mod error;
mod found;
mod log;
pub mod mirror;
pub mod read;
mod record;
mod reserve;
#[cfg(test)]
mod tests;
mod tree;
mod uses;
pub mod verify;
mod writer;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

pub use administrators::{Administrators, LogChange};
pub use bound::RECORD_BYTES;
pub use checkpoint::Covered;
use crossbeam_channel::Sender;
pub use error::AuditError;
pub use found::{Unremembered, end_of, log_in, since};
pub use log::Opened;
pub use record::{Digests, Entry, Event, ImageIds, KeyRef, Record, RuleRef, TrainRef};
use tokio::sync::oneshot;
pub use tree::{Hash, leaf_hash};
use writer::{Health, Message};

pub use self::mirror::{Mirror, SinkKind};

/// Number of records that may wait for the disk; the next record waits for space in the queue.
const QUEUE: usize = 4096;

/// Settings for opening a log.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory of all logs; `audit` in the state directory.
    pub directory: PathBuf,
    /// The log's name in that directory: `service`, `officer`.
    pub log: &'static str,
    /// Length in bytes above which a new segment is begun.
    pub segment_bytes: u64,
    /// Bytes of the disk that are reserved for this log alone; 0 for none.
    pub reserve_bytes: u64,
    /// The directory of all logs' archives, to which old segments are moved.
    pub archive: Option<PathBuf>,
    /// A mirror that receives a copy of the records.
    pub second: Option<Mirror>,
    /// The remembered position of the log: the same log must have reached it.
    pub remembered: Option<Remembered>,
    /// Stores the position of the log, after each write and before any caller is informed of it.
    pub remember: Option<Remember>,
}

type Remembering = dyn Fn(&Remembered) -> Result<(), String> + Send + Sync;

/// Callback that stores the position of a log.
#[derive(Clone)]
pub struct Remember(Arc<Remembering>);

impl Remember {
    /// Wraps a callback. It may block briefly; its error goes to the service's log.
    pub fn new(remember: impl Fn(&Remembered) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(remember))
    }
}

impl fmt::Debug for Remember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remember")
    }
}

/// A position in a log that was stored elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The log's id.
    pub log: String,
    /// Number of records.
    pub size: u64,
    /// Hash of the last record.
    pub head: Hash,
}

/// The writing end of one log. Cheap to clone.
#[derive(Clone)]
pub struct Audit {
    inner: Arc<Inner>,
}

struct Inner {
    queue: Mutex<Option<Sender<Message>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    health: Arc<Health>,
    /// Key uses announced since the log was opened.
    intents: AtomicU64,
    origin: String,
}

/// Position of a record in its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The record's number, from 0.
    pub seq: u64,
    /// The record's hash.
    pub hash: Hash,
}

impl Audit {
    /// Opens a log, creating it when there is none, and continues its chain. A record that a crash left half-written at the end,
    /// of which no caller was informed, is cut off, and this is recorded.
    ///
    /// # Errors
    /// [`AuditError::Held`] when another process writes to the log, [`AuditError::Broken`] when its last segment is not the chain that
    /// was written, [`AuditError::Io`].
    pub fn open(settings: Settings) -> Result<(Self, Opened), AuditError> {
        let directory = settings.directory.join(settings.log);
        let (mut log, opened) = log::Log::open(&directory, settings.segment_bytes, settings.remembered.as_ref())?;
        log.reserve(settings.reserve_bytes);
        let directories = settings.archive.map(|archive| archive.join(settings.log)).into_iter().chain([directory]).collect();
        let copied = mirror::MirroredLog { directories, log: log.origin().to_owned() };
        let second = settings.second.map(|sink| mirror::MirrorThread::start(sink, copied, log.end())).transpose()?;
        let health = Arc::new(Health::default());
        let (sender, receiver) = crossbeam_channel::bounded(QUEUE);
        let origin = log.origin().to_owned();
        let writing = writer::Writer::new(log, Arc::clone(&health), second, settings.remember);
        let thread = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writing.run(&receiver))
            .map_err(|source| AuditError::io("start the audit's thread", source))?;
        let inner = Inner {
            queue: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
            health,
            intents: AtomicU64::new(0),
            origin,
        };
        Ok((Self { inner: Arc::new(inner) }, opened))
    }

    /// Returns the log's id: checkpoints name it as `stationmaster/LOG-ID`.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.inner.origin
    }

    /// Appends a record and waits until it is on the disk. Blocks; not for async code.
    ///
    /// # Errors
    /// [`AuditError`]; the record was then not written, and the operation that it announces must not happen.
    pub fn record(&self, entry: Entry) -> Result<Position, AuditError> {
        self.send(entry, false)?.blocking_recv().unwrap_or(Err(AuditError::Closed))
    }

    /// As [`Audit::record`], for async code.
    ///
    /// # Errors
    /// As [`Audit::record`].
    pub async fn record_async(&self, entry: Entry) -> Result<Position, AuditError> {
        self.send(entry, false)?.await.unwrap_or(Err(AuditError::Closed))
    }

    /// As [`Audit::record_async`], for a caller that can wait some milliseconds: many such records share a sync.
    ///
    /// # Errors
    /// As [`Audit::record`].
    pub async fn record_among_others(&self, entry: Entry) -> Result<Position, AuditError> {
        self.send(entry, true)?.await.unwrap_or(Err(AuditError::Closed))
    }

    fn send(&self, entry: Entry, may_wait: bool) -> Result<oneshot::Receiver<Result<Position, AuditError>>, AuditError> {
        if entry.event == Event::KeyUse {
            self.inner.intents.fetch_add(1, Ordering::Relaxed);
        }
        let (answer, answered) = oneshot::channel();
        self.queue()?.send(Message::Record(Box::new(entry), may_wait, answer)).map_err(|_| AuditError::Closed)?;
        Ok(answered)
    }

    /// Announces a checkpoint: appends the record of the key use to come, and returns what the checkpoint covers, which is
    /// everything before that record.
    ///
    /// # Errors
    /// As [`Audit::record`].
    pub async fn begin_checkpoint(&self, entry: Entry) -> Result<Covered, AuditError> {
        let (answer, answered) = oneshot::channel();
        self.inner.intents.fetch_add(1, Ordering::Relaxed);
        self.queue()?.send(Message::Checkpoint(Box::new(entry), answer)).map_err(|_| AuditError::Closed)?;
        answered.await.unwrap_or(Err(AuditError::Closed))
    }

    /// Checks whether the log can be written: checks its file, and after a failure writes a record, because only a write shows that
    /// the log works again.
    ///
    /// # Errors
    /// The reason why it cannot be written.
    pub async fn check(&self) -> Result<(), AuditError> {
        let (answer, answered) = oneshot::channel();
        self.queue()?.send(Message::Check(answer)).map_err(|_| AuditError::Closed)?;
        answered.await.unwrap_or(Err(AuditError::Closed))
    }

    /// Returns whether the last write succeeded. Does not access the disk.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.inner.health.is_well()
    }

    /// Returns the number of records in the log.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.inner.health.size()
    }

    /// Returns the number of key uses announced since the log was opened.
    #[must_use]
    pub fn intents(&self) -> u64 {
        self.inner.intents.load(Ordering::Relaxed)
    }

    /// Ends the writing thread after it has written all waiting records. The mirror gets a short time for its remaining records.
    pub fn close(&self) {
        drop(self.inner.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take());
        let thread = self.inner.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // After a panic there, waiting callers have received `Closed`.
            let _ = thread.join();
        }
    }

    fn queue(&self) -> Result<Sender<Message>, AuditError> {
        self.inner.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone().ok_or(AuditError::Closed)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.queue.get_mut().map(Option::take));
        if let Ok(Some(thread)) = self.thread.get_mut().map(Option::take) {
            let _ = thread.join();
        }
    }
}

/// Appends one record to the log of the administrators' commands, and waits until it is on the disk. Waits briefly for another
/// command that is writing.
///
/// # Errors
/// As [`Audit::open`] and [`Audit::record`].
pub fn record_command(directory: &Path, entry: Entry) -> Result<Position, AuditError> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let begun = std::time::Instant::now();
    let directory = directory.join(ADMINISTRATORS);
    loop {
        match log::Log::open(&directory, OFFICERS_SEGMENT, None) {
            Ok((mut log, _)) => {
                let positions = log.append(&[entry])?;
                return positions.last().copied().ok_or(AuditError::Closed);
            }
            Err(AuditError::Held(_)) if begun.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(50)),
            Err(error) => return Err(error),
        }
    }
}

/// The directory of the administrators' log.
pub const ADMINISTRATORS: &str = "officer";
/// The directory of the service's log.
pub const SERVICE: &str = "service";

/// Segments of the administrators' log are short, because a command reads the last one.
const OFFICERS_SEGMENT: u64 = 4 << 20;
