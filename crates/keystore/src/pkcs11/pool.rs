//! Session pool: a bounded queue before the worker threads, and the caller's side of it.

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
use zeroize::Zeroizing;

use super::{
    counters::Counters,
    keyring::KeyRing,
    keys::{Key, not_found},
    module::lock,
    probe::UnwrapMethod,
    recovery::SharedState,
    token::Token,
    turns::{NotTaken, Turns},
    worker::{self, Answer, Job, Task},
};
use crate::{
    Health, KeyInfo, KeyUses, KeystoreConfig, KeystoreError, OaepScheme, Purpose, SignScheme, TrialLog, verify::signature_holds,
};

/// How long calls in the module may continue when the keystore is closed.
const LAST_CALL: Duration = Duration::from_secs(5);

pub(crate) struct Pool {
    queue: Arc<Turns<Job>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Each thread holds a clone of the sender: when the last thread has ended, the receiver is disconnected.
    lives: Mutex<Option<(Sender<()>, Receiver<()>)>>,
    /// Taken out at the end, which disconnects the recovery thread's receiver.
    ended: Mutex<Option<Sender<()>>>,
    /// Cancelled when callers shall no longer wait for a token that does not respond.
    given_up: CancellationToken,
    /// Whether a call still hung in the module when the keystore was closed.
    stuck: AtomicBool,
    pub(super) shared: Arc<SharedState>,
}

impl Pool {
    pub(crate) fn open(config: KeystoreConfig) -> Result<Pool, KeystoreError> {
        let access = config.access();
        let sessions = config.sessions.max(1);
        let keys = KeyRing::new(config.keys, config.allow_raw_unwrap)?;
        let (wake, woken) = bounded(1);
        let shared = Arc::new(SharedState {
            seats: (0..sessions).map(|_| Mutex::new(None)).collect(),
            anchor: Mutex::new(None),
            keys,
            counters: Counters::default(),
            health: Mutex::new(Health::Ready),
            closing: AtomicBool::new(false),
            wake,
            trials: OnceLock::new(),
            token: Token::find(&access)?,
        });
        shared.log_in(&mut lock(&shared.anchor))?;
        let labels: Vec<String> = shared.keys.labels().map(str::to_owned).collect();
        for label in labels {
            shared.keys.load_and_probe(&label, &shared.token, &shared.counters, None)?.key.report();
        }

        let queue = Arc::new(Turns::new(config.queue));
        // From here on a failure must end the threads that are running: dropping the pool does.
        let (ended, end) = bounded(0);
        let pool = Pool {
            queue: Arc::clone(&queue),
            threads: Mutex::default(),
            lives: Mutex::new(Some(bounded(0))),
            ended: Mutex::new(Some(ended)),
            given_up: CancellationToken::new(),
            stuck: AtomicBool::new(false),
            shared: Arc::clone(&shared),
        };
        for seat in 0..sessions {
            let (shared, jobs) = (Arc::clone(&shared), Arc::clone(&queue));
            pool.start(format!("hsm-{seat}"), move || worker::run(&shared, seat, &jobs))?;
        }
        pool.start("hsm-keeper".to_owned(), move || shared.supervise(&woken, &end))?;
        Ok(pool)
    }

    fn start(&self, name: String, body: impl FnOnce() + Send + 'static) -> Result<(), KeystoreError> {
        let life = lock(&self.lives).as_ref().map(|(life, _)| life.clone());
        let thread = Builder::new()
            .name(name)
            .spawn(move || {
                let _life = life;
                body();
            })
            .map_err(|_| KeystoreError::Unavailable { reason: "no thread could be started" })?;
        lock(&self.threads).push(thread);
        Ok(())
    }

    pub(crate) fn keys(&self) -> Vec<KeyInfo> {
        self.shared.keys.present().iter().map(|key| key.info()).collect()
    }

    pub(crate) fn key(&self, label: &str) -> Result<KeyInfo, KeystoreError> {
        Ok(self.shared.keys.known(label)?.ok_or_else(|| not_found(label))?.info())
    }

    pub(crate) async fn find_info(
        &self,
        who: &Arc<str>,
        label: &str,
        deadline: Option<Instant>,
    ) -> Result<KeyInfo, KeystoreError> {
        Ok(self.find(who, label, deadline).await?.info())
    }

    pub(crate) fn missing(&self, purpose: Purpose) -> Vec<String> {
        self.shared.keys.missing(Some(purpose))
    }

    pub(crate) fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    pub(crate) async fn sign(
        &self,
        who: &Arc<str>,
        label: &str,
        scheme: SignScheme,
        digest: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Vec<u8>, KeystoreError> {
        let (expected, got) = (scheme.hash().len(), digest.len());
        if expected != got {
            return Err(KeystoreError::DigestLength { expected, got });
        }
        let key = self.find(who, label, deadline).await?;
        if !key.findings.signs.contains(&scheme) {
            return Err(key.unsupported(scheme.name()));
        }
        let task = Task::Sign { key: Arc::clone(&key), scheme, digest: digest.to_vec() };
        let signature = self.call(who, task, deadline).await?;
        // In the caller's task: the token's thread continues. A public RSA operation takes some ten microseconds.
        if !signature_holds(&key.private.public, scheme, digest, &signature) {
            tracing::error!(key = label, "the token made a signature that does not verify");
            return Err(KeystoreError::SignatureInvalid);
        }
        Ok(signature.to_vec())
    }

    pub(crate) async fn unwrap(
        &self,
        who: &Arc<str>,
        label: &str,
        scheme: OaepScheme,
        wrapped: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Zeroizing<Vec<u8>>, KeystoreError> {
        let key = self.find(who, label, deadline).await?;
        if key.findings.way(scheme) == UnwrapMethod::No {
            return Err(key.unsupported(scheme.name()));
        }
        // Both are public facts about the ciphertext; tokens return different values for them.
        if !key.could_have_wrapped(wrapped) {
            return Err(KeystoreError::UnwrapFailed);
        }
        self.call(who, Task::Unwrap { key, scheme, wrapped: wrapped.to_vec() }, deadline).await
    }

    /// Returns the key; reads it again from the token if it was missing.
    async fn find(&self, who: &Arc<str>, label: &str, deadline: Option<Instant>) -> Result<Arc<Key>, KeystoreError> {
        if let Some(key) = self.shared.keys.known(label)? {
            return Ok(key);
        }
        self.call(who, Task::Learn { label: label.to_owned() }, deadline).await?;
        self.shared.keys.known(label)?.ok_or_else(|| not_found(label))
    }

    pub(super) async fn call(&self, who: &Arc<str>, task: Task, deadline: Option<Instant>) -> Answer {
        self.shared.ready()?;
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(KeystoreError::DeadlineExceeded);
        }
        let reply = self.enqueue(who, task, deadline)?;
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

    fn enqueue(&self, who: &Arc<str>, task: Task, deadline: Option<Instant>) -> Result<oneshot::Receiver<Answer>, KeystoreError> {
        let (answer, reply) = oneshot::channel();
        match self.queue.push(who, Job { task, deadline, answer }) {
            Ok(()) => Ok(reply),
            Err(NotTaken::Full) => Err(KeystoreError::Overloaded),
            Err(NotTaken::Closed) => Err(KeystoreError::Unavailable { reason: "the keystore is closing" }),
        }
    }

    pub(crate) fn health(&self) -> Health {
        lock(&self.shared.health).clone()
    }

    pub(crate) async fn check(&self, deadline: Option<Instant>) -> Result<(), KeystoreError> {
        let shared = Arc::clone(&self.shared);
        let look = tokio::task::spawn_blocking(move || shared.health_check());
        let seen = match deadline {
            Some(deadline) => {
                tokio::time::timeout_at(deadline.into(), look).await.map_err(|_| KeystoreError::DeadlineExceeded)?
            }
            None => look.await,
        };
        seen.unwrap_or(Err(KeystoreError::Unavailable { reason: "the look at the token was broken off" }))
    }

    pub(crate) fn key_uses(&self) -> KeyUses {
        self.shared.counters.uses()
    }

    pub(crate) fn token_serial(&self) -> &str {
        self.shared.token.serial()
    }

    pub(crate) fn give_up(&self) {
        self.given_up.cancel();
    }

    pub(crate) fn announce_trials_to(&self, log: Arc<dyn TrialLog>) {
        // Set once, by the one who has the keystore to itself.
        let _ = self.shared.trials.set(log);
    }

    pub(crate) fn close(&self) -> bool {
        self.shared.closing.store(true, Ordering::Release);
        self.queue.close();
        drop(lock(&self.ended).take());
        if let Some((life, lives)) = lock(&self.lives).take() {
            drop(life);
            // Nothing is ever sent: the channel is disconnected when all threads have ended.
            if lives.recv_timeout(LAST_CALL) == Err(RecvTimeoutError::Timeout) {
                tracing::error!("a call in the PKCS#11 module does not come back: it is left to itself");
                self.stuck.store(true, Ordering::Release);
                // Sessions and module stay as they are: finalising during a running call crashes token libraries.
                std::mem::forget(Arc::clone(&self.shared));
            }
        }
        if self.stuck.load(Ordering::Acquire) {
            return false;
        }
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            // A panic was handled where it happened.
            let _ = thread.join();
        }
        self.shared.seats.iter().for_each(|seat| drop(lock(seat).take()));
        // A health check of the token may hang, too.
        match self.shared.anchor.try_lock() {
            Err(TryLockError::WouldBlock) => {
                self.stuck.store(true, Ordering::Release);
                std::mem::forget(Arc::clone(&self.shared));
                false
            }
            Err(TryLockError::Poisoned(anchor)) => {
                drop(anchor.into_inner().take());
                true
            }
            Ok(mut anchor) => {
                drop(anchor.take());
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
