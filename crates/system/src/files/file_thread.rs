//! A thread for file operations that may hang: a file system that does not respond blocks this thread and no caller.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Sender, bounded, unbounded};
use tokio::sync::oneshot;

/// How long a caller waits: less than the five seconds of a health check's own timeout.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The file system does not respond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its file system does not respond")]
pub struct NotResponding;

impl From<NotResponding> for std::io::Error {
    fn from(stuck: NotResponding) -> Self {
        Self::new(std::io::ErrorKind::TimedOut, stuck)
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// Handle of the thread, which ends when this is dropped and its current job, if it ever ends, is done; the process does not wait for it.
#[derive(Clone, Debug)]
pub struct FileThread {
    jobs: Sender<Job>,
    /// Milliseconds of [`clock`] at which the current job began; 0 when there is none.
    since: Arc<AtomicU64>,
}

impl FileThread {
    /// Starts the thread. If no thread can be started, every job fails with [`NotResponding`].
    #[must_use]
    pub fn new(name: &str) -> Self {
        let (jobs, queue) = unbounded::<Job>();
        let since = Arc::<AtomicU64>::default();
        let busy = Arc::clone(&since);
        let started = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            for job in queue {
                busy.store(clock(), Ordering::Release);
                // After a panic the caller gets no reply; the next job is done nevertheless.
                let _ = catch_unwind(AssertUnwindSafe(job));
                busy.store(0, Ordering::Release);
            }
        });
        if let Err(error) = started {
            tracing::error!(%error, "no thread can be started");
        }
        Self { jobs, since }
    }

    /// Runs a job and waits for it without blocking the runtime.
    ///
    /// # Errors
    /// When the job, or one before it, takes too long.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, NotResponding> {
        let (answer, answered) = oneshot::channel();
        self.send(Box::new(move || drop(answer.send(job()))))?;
        tokio::time::timeout(TIMEOUT, answered).await.map_err(|_| NotResponding)?.map_err(|_| NotResponding)
    }

    /// As [`FileThread::run`], from a thread that may block.
    ///
    /// # Errors
    /// When the job, or one before it, takes too long.
    pub fn run_blocking<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, NotResponding> {
        let (answer, answered) = bounded(1);
        self.send(Box::new(move || drop(answer.send(job()))))?;
        answered.recv_timeout(TIMEOUT).map_err(|_| NotResponding)
    }

    /// Queues a job without waiting for it.
    pub fn queue(&self, job: impl FnOnce() + Send + 'static) {
        let _ = self.jobs.send(Box::new(job));
    }

    fn send(&self, job: Job) -> Result<(), NotResponding> {
        let since = self.since.load(Ordering::Acquire);
        // Later callers do not wait as long again, and add nothing to the queue.
        if since != 0 && Duration::from_millis(clock().saturating_sub(since)) > TIMEOUT {
            return Err(NotResponding);
        }
        self.jobs.send(job).map_err(|_| NotResponding)
    }
}

/// Returns milliseconds of a monotonic clock, never 0.
fn clock() -> u64 {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(BEGUN.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}
