//! Session pool of one token: starts and ends the worker threads, and passes calls to them through a bounded queue.

use std::{
    sync::{
        Arc, Mutex, OnceLock, TryLockError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    counters::Counters,
    fair_queue::{FairQueue, NotQueued},
    keyring::KeyRing,
    module::lock,
    shared_state::{Health, SharedState},
    token::Token,
    worker::{self, Job, Outcome, Task},
};
use crate::{KeystoreConfig, KeystoreError};

/// How long calls in the module may continue when the keystore is closed.
const LAST_CALL: Duration = Duration::from_secs(5);

/// The worker threads of one token, and the queue before them.
pub(crate) struct Pool {
    queue: Arc<FairQueue<Job>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Each thread holds a clone of the sender: when the last thread has ended, the receiver is disconnected.
    alive: Mutex<Option<(Sender<()>, Receiver<()>)>>,
    /// Taken out at the end, which disconnects the recovery thread's receiver.
    stop: Mutex<Option<Sender<()>>>,
    /// Cancelled when callers shall no longer wait for a token that does not respond.
    given_up: CancellationToken,
    /// Whether a call still hung in the module when the keystore was closed.
    stuck: AtomicBool,
    state: Arc<SharedState>,
}

impl Pool {
    /// Finds the token, logs in, probes the configured keys and starts the threads.
    pub(crate) fn open(config: KeystoreConfig) -> Result<Self, KeystoreError> {
        let sessions = config.session_count();
        let keys = KeyRing::new(config.keys, config.allow_raw_unwrap)?;
        let (wake, woken) = bounded(1);
        let state = Arc::new(SharedState {
            slots: (0..sessions).map(|_| Mutex::new(None)).collect(),
            login_session: Mutex::new(None),
            keys,
            counters: Counters::default(),
            health: Mutex::new(Health::Ready),
            closing: AtomicBool::new(false),
            wake,
            trials: OnceLock::new(),
            token: Token::find(&config.access)?,
        });
        state.log_in(&mut lock(&state.login_session))?;
        let labels: Vec<String> = state.keys.labels().map(str::to_owned).collect();
        for label in labels {
            state.keys.load_and_probe(&label, &state.token, &state.counters, None)?.key.report();
        }

        let queue = Arc::new(FairQueue::new(config.queue));
        // From here on a failure must end the threads that are running: dropping the pool does.
        let (stop, stopped) = bounded(0);
        let pool = Pool {
            queue: Arc::clone(&queue),
            threads: Mutex::default(),
            alive: Mutex::new(Some(bounded(0))),
            stop: Mutex::new(Some(stop)),
            given_up: CancellationToken::new(),
            stuck: AtomicBool::new(false),
            state: Arc::clone(&state),
        };
        for slot in 0..sessions {
            let (state, jobs) = (Arc::clone(&state), Arc::clone(&queue));
            pool.start(format!("hsm-{slot}"), move || worker::run(&state, slot, &jobs))?;
        }
        pool.start("hsm-recovery".to_owned(), move || state.supervise(&woken, &stopped))?;
        Ok(pool)
    }

    /// Returns the state that the threads share.
    pub(crate) fn state(&self) -> &SharedState {
        &self.state
    }

    fn start(&self, name: String, body: impl FnOnce() + Send + 'static) -> Result<(), KeystoreError> {
        let alive = lock(&self.alive).as_ref().map(|(alive, _)| alive.clone());
        let thread = Builder::new()
            .name(name)
            .spawn(move || {
                let _alive = alive;
                body();
            })
            .map_err(|_| KeystoreError::Unavailable { reason: "no thread could be started" })?;
        lock(&self.threads).push(thread);
        Ok(())
    }

    /// Queues a task for the workers and waits for its answer, until the deadline at most.
    pub(crate) async fn call(&self, caller: &Arc<str>, task: Task, deadline: Option<Instant>) -> Outcome {
        self.state.ready()?;
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(KeystoreError::DeadlineExceeded);
        }
        let reply = self.enqueue(caller, task, deadline)?;
        let reply = async {
            match deadline {
                // Returning drops the receiver, which removes a waiting job from the queue.
                Some(deadline) => {
                    tokio::time::timeout_at(deadline.into(), reply).await.map_err(|_| KeystoreError::DeadlineExceeded)
                }
                None => Ok(reply.await),
            }
        };
        let reply = tokio::select! {
            reply = reply => reply?,
            () = self.given_up.cancelled() => {
                return Err(KeystoreError::Unavailable { reason: "the service ends, and the token has not answered" });
            }
        };
        reply.unwrap_or(Err(KeystoreError::Unavailable { reason: "the keystore is closing" }))
    }

    fn enqueue(
        &self,
        caller: &Arc<str>,
        task: Task,
        deadline: Option<Instant>,
    ) -> Result<oneshot::Receiver<Outcome>, KeystoreError> {
        let (reply, receiver) = oneshot::channel();
        match self.queue.push(caller, Job { task, deadline, reply }) {
            Ok(()) => Ok(receiver),
            Err(NotQueued::Full) => Err(KeystoreError::Overloaded),
            Err(NotQueued::Closed) => Err(KeystoreError::Unavailable { reason: "the keystore is closing" }),
        }
    }

    /// Returns the number of waiting calls.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// Checks the token without using a key, on a thread of its own.
    pub(crate) async fn check(&self, deadline: Option<Instant>) -> Result<(), KeystoreError> {
        let state = Arc::clone(&self.state);
        let check = tokio::task::spawn_blocking(move || state.health_check());
        let outcome = match deadline {
            Some(deadline) => {
                tokio::time::timeout_at(deadline.into(), check).await.map_err(|_| KeystoreError::DeadlineExceeded)?
            }
            None => check.await,
        };
        outcome.unwrap_or(Err(KeystoreError::Unavailable { reason: "the look at the token was broken off" }))
    }

    /// See [`Keystore::give_up`](crate::Keystore::give_up).
    pub(crate) fn give_up(&self) {
        self.given_up.cancel();
    }

    /// See [`Keystore::close`](crate::Keystore::close).
    pub(crate) fn close(&self) -> bool {
        self.state.closing.store(true, Ordering::Release);
        self.queue.close();
        drop(lock(&self.stop).take());
        if let Some((alive, all_ended)) = lock(&self.alive).take() {
            drop(alive);
            // Nothing is ever sent: the channel is disconnected when all threads have ended.
            if all_ended.recv_timeout(LAST_CALL) == Err(RecvTimeoutError::Timeout) {
                tracing::error!("a call in the PKCS#11 module does not come back: it is left to itself");
                self.stuck.store(true, Ordering::Release);
                // Sessions and module stay as they are: finalising during a running call crashes token libraries.
                std::mem::forget(Arc::clone(&self.state));
            }
        }
        if self.stuck.load(Ordering::Acquire) {
            return false;
        }
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            // A panic was handled where it happened.
            let _ = thread.join();
        }
        self.state.slots.iter().for_each(|slot| drop(lock(slot).take()));
        // A health check of the token may hang, too.
        match self.state.login_session.try_lock() {
            Err(TryLockError::WouldBlock) => {
                self.stuck.store(true, Ordering::Release);
                std::mem::forget(Arc::clone(&self.state));
                false
            }
            Err(TryLockError::Poisoned(session)) => {
                drop(session.into_inner().take());
                true
            }
            Ok(mut session) => {
                drop(session.take());
                true
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let _ = self.close();
    }
}
