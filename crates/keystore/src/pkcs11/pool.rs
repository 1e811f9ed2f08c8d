//! Session pool of one token: starts and ends the worker threads, and passes calls to them through a bounded queue.

use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Sender, bounded};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    counters::Counters,
    fair_queue::{FairQueue, NotQueued},
    keyring::{KeyRing, Needed},
    module::lock,
    probe::AllowedRaw,
    shared_state::{Health, SharedState},
    threads::Threads,
    token::Token,
    watchdog,
    worker::{Job, Task},
    worker_slot::Lane,
};
use crate::{KeystoreConfig, KeystoreError, TrialLog, identities::Identities, operation::Outcome};

/// How long calls in the module may continue when the keystore is closed.
const LAST_CALL: Duration = Duration::from_secs(5);

/// The worker threads of one token, and the queues before them.
pub(crate) struct Pool {
    pub(super) threads: Arc<Threads>,
    /// Taken out at the end, which disconnects the receivers of recovery thread and watchdog.
    stop: Mutex<Option<Sender<()>>>,
    /// Cancelled when callers shall no longer wait for a token that does not respond.
    given_up: CancellationToken,
    /// Whether a call still hung in the module when the keystore was closed.
    stuck: AtomicBool,
    state: Arc<SharedState>,
}

impl Pool {
    /// Finds the token, logs in, probes the configured keys and starts the threads. Trials are reported to the log, if there is one.
    pub(crate) fn open(
        config: &KeystoreConfig,
        needed: Needed,
        log: Option<&Arc<dyn TrialLog>>,
        identities: &Identities,
    ) -> Result<Self, KeystoreError> {
        let sessions = config.session_count();
        let keys = KeyRing::new(
            &config.keys,
            AllowedRaw { unwrap: config.allow_raw_unwrap, sign: config.allow_raw_sign },
            identities.clone(),
        )?;
        let (wake, woken) = bounded(1);
        let state = Arc::new(SharedState {
            workers: Mutex::default(),
            hung: AtomicUsize::new(0),
            sessions,
            call_timeout: config.call_timeout,
            keep_alive: config.keep_alive,
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
        if let Some(log) = log {
            state.announce_trials_to(Arc::clone(log));
        }
        state.load_all(needed)?;

        let (stop, stopped) = bounded(0);
        // From here on a failure must end the threads that are running: dropping the pool does.
        let pool = Pool {
            threads: Threads::new(config.queue),
            stop: Mutex::new(Some(stop)),
            given_up: CancellationToken::new(),
            stuck: AtomicBool::new(false),
            state,
        };
        let (state, threads) = (&pool.state, &pool.threads);
        for _ in 0..sessions {
            threads.start_worker(state, Lane::Keys)?;
        }
        threads.start_worker(state, Lane::Checks)?;
        let (of_recovery, recovery_stopped) = (Arc::clone(state), stopped.clone());
        threads.start("hsm-recovery", move || of_recovery.supervise(&woken, &recovery_stopped))?;
        let (of_watchdog, replacements) = (Arc::clone(state), Arc::downgrade(threads));
        threads.start("hsm-watchdog", move || watchdog::run(&of_watchdog, &replacements, &stopped))?;
        Ok(pool)
    }

    /// Returns the state that the threads share.
    pub(crate) fn state(&self) -> &SharedState {
        &self.state
    }

    /// Queues a task for the workers and waits for its answer, until the deadline at most.
    pub(crate) async fn call(&self, caller: &Arc<str>, task: Task, deadline: Option<Instant>) -> Outcome {
        self.call_in(&self.threads.keys, caller, task, deadline).await
    }

    async fn call_in(&self, queue: &FairQueue<Job>, caller: &Arc<str>, task: Task, deadline: Option<Instant>) -> Outcome {
        self.state.ready()?;
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(KeystoreError::DeadlineExceeded);
        }
        let (reply, answer) = oneshot::channel();
        queue.push(caller, Job { task, deadline, reply }).map_err(|refused| match refused {
            NotQueued::Full => KeystoreError::Overloaded,
            NotQueued::Closed => KeystoreError::Unavailable { reason: "the keystore is closing" },
        })?;
        let reply = async {
            match deadline {
                // Returning drops the receiver, which removes a waiting job from the queue.
                Some(deadline) => {
                    tokio::time::timeout_at(deadline.into(), answer).await.map_err(|_| KeystoreError::DeadlineExceeded)
                }
                None => Ok(answer.await),
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

    /// Returns the number of waiting calls.
    pub(crate) fn waiting(&self) -> usize {
        self.threads.keys.waiting()
    }

    /// Checks the token without using a key. While it is unavailable, triggers an attempt to recover it.
    pub(crate) async fn check(&self, deadline: Option<Instant>) -> Result<(), KeystoreError> {
        if let Err(unavailable) = self.state.ready() {
            self.state.wake();
            return Err(unavailable);
        }
        self.call_in(&self.threads.checks, &Arc::from("health"), Task::Check, deadline).await.map(drop)
    }

    /// See [`Keystore::give_up`](crate::Keystore::give_up).
    pub(crate) fn give_up(&self) {
        self.given_up.cancel();
    }

    /// See [`Keystore::close`](crate::Keystore::close).
    pub(crate) fn close(&self) -> bool {
        self.state.closing.store(true, Ordering::Release);
        drop(lock(&self.stop).take());
        if self.stuck.load(Ordering::Acquire) {
            return false;
        }
        if !self.threads.end(LAST_CALL) {
            tracing::error!("a call in the PKCS#11 module does not come back: it is left to itself");
            self.stuck.store(true, Ordering::Release);
            // Sessions and module stay as they are: finalising during a running call crashes token libraries.
            std::mem::forget(Arc::clone(&self.state));
            return false;
        }
        self.state.workers().iter().for_each(|worker| drop(lock(&worker.session).take()));
        drop(lock(&self.state.login_session).take());
        true
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let _ = self.close();
    }
}
