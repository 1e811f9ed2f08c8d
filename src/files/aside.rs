//! A thread for work on files that may hang: a file system that does not answer holds up this thread and no caller.

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

/// How long a caller waits. Below the five seconds after which health gives up by itself.
const PATIENCE: Duration = Duration::from_secs(3);

/// The file system does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its file system does not answer")]
pub struct Stuck;

impl From<Stuck> for std::io::Error {
    fn from(stuck: Stuck) -> Self {
        Self::new(std::io::ErrorKind::TimedOut, stuck)
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// The thread. It ends when this is dropped and its job, if it ever ends, is done; the process does not wait for it.
#[derive(Clone, Debug)]
pub struct Aside {
    jobs: Sender<Job>,
    /// Milliseconds of [`clock`] at which the job under way began; 0 when there is none.
    since: Arc<AtomicU64>,
}

impl Aside {
    /// Starts it. Where no thread can be had, every job is [`Stuck`].
    #[must_use]
    pub fn new(name: &str) -> Self {
        let (jobs, queue) = unbounded::<Job>();
        let since = Arc::<AtomicU64>::default();
        let busy = Arc::clone(&since);
        let started = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            for job in queue {
                busy.store(clock(), Ordering::Release);
                // Its caller learns of a panic by the answer that does not come; the next job is done all the same.
                let _ = catch_unwind(AssertUnwindSafe(job));
                busy.store(0, Ordering::Release);
            }
        });
        if let Err(error) = started {
            tracing::error!(%error, "no thread can be started");
        }
        Self { jobs, since }
    }

    /// Has a job done, and waits for it without holding up the runtime.
    ///
    /// # Errors
    /// When it takes too long, or one before it does.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Stuck> {
        let (answer, answered) = oneshot::channel();
        self.send(Box::new(move || drop(answer.send(job()))))?;
        tokio::time::timeout(PATIENCE, answered).await.map_err(|_| Stuck)?.map_err(|_| Stuck)
    }

    /// The same, from a thread that may wait.
    ///
    /// # Errors
    /// When it takes too long, or one before it does.
    pub fn run_blocking<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Stuck> {
        let (answer, answered) = bounded(1);
        self.send(Box::new(move || drop(answer.send(job()))))?;
        answered.recv_timeout(PATIENCE).map_err(|_| Stuck)
    }

    /// Has a job done after those before it; nothing waits for it.
    pub fn queue(&self, job: impl FnOnce() + Send + 'static) {
        let _ = self.jobs.send(Box::new(job));
    }

    fn send(&self, job: Job) -> Result<(), Stuck> {
        let since = self.since.load(Ordering::Acquire);
        // Who comes after the first does not wait as long again, and adds nothing to the queue.
        if since != 0 && Duration::from_millis(clock().saturating_sub(since)) > PATIENCE {
            return Err(Stuck);
        }
        self.jobs.send(job).map_err(|_| Stuck)
    }
}

/// Milliseconds of a clock that only goes forward, never 0.
fn clock() -> u64 {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(BEGUN.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}
