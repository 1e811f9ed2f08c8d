//! A token in another process, as the service sees it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::Builder,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::{
    process::WorkerProcess,
    socket::Socket,
    wire::{Numbered, Request, Response, Seen, Settings},
};
use crate::{
    Isolation, KeyDescription, KeyId, KeyUses, KeystoreConfig, KeystoreError,
    operation::{Operation, Outcome},
    pkcs11::Needed,
    trial_log::Trials,
    verify::PublicKeys,
};

const ENDED: KeystoreError = KeystoreError::Unavailable { reason: "the token's process ended" };

/// How long a process may take to open the token.
const OPENING: Duration = Duration::from_secs(60);

/// Pauses between attempts to start the process.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// A token whose module is in a process of its own.
pub(crate) struct Isolated(Arc<Shared>);

struct Shared {
    config: KeystoreConfig,
    isolation: Isolation,
    needed: Needed,
    trials: Trials,
    link: Mutex<Option<Link>>,
    seen: Mutex<Seen>,
    public: PublicKeys,
    /// Uses by processes that have ended.
    before: Mutex<KeyUses>,
    calls: Mutex<HashMap<u64, oneshot::Sender<Response>>>,
    /// When the process last sent something.
    last_answer: Mutex<Instant>,
    next: AtomicU64,
    closing: AtomicBool,
    given_up: CancellationToken,
}

/// The running process and the connection to it.
struct Link {
    socket: Socket,
    process: WorkerProcess,
}

impl Isolated {
    /// Starts the process, which opens the token. Blocks until it has.
    pub(crate) fn open(
        config: &KeystoreConfig,
        isolation: &Isolation,
        needed: Needed,
        trials: &Trials,
    ) -> Result<Self, KeystoreError> {
        let (link, seen) = start(config, isolation, needed, trials)?;
        let socket = link.socket.clone();
        let shared = Arc::new(Shared {
            config: config.clone(),
            isolation: isolation.clone(),
            needed,
            trials: Arc::clone(trials),
            link: Mutex::new(Some(link)),
            seen: Mutex::new(seen),
            public: PublicKeys::default(),
            before: Mutex::default(),
            calls: Mutex::default(),
            last_answer: Mutex::new(Instant::now()),
            next: AtomicU64::new(1),
            closing: AtomicBool::new(false),
            given_up: CancellationToken::new(),
        });
        let of_thread = Arc::clone(&shared);
        Builder::new()
            .name("hsm-process".to_owned())
            .spawn(move || of_thread.supervise(socket))
            .map_err(|_| KeystoreError::Unavailable { reason: "no thread could be started" })?;
        Ok(Self(shared))
    }

    pub(crate) async fn carry_out(
        &self,
        caller: &Arc<str>,
        id: KeyId,
        operation: Operation<'_>,
        deadline: Option<Instant>,
    ) -> Outcome {
        let caller = caller.to_string();
        let left = remaining(deadline)?;
        let request = match operation {
            Operation::Sign { scheme, digest } => Request::Sign { caller, id, scheme, digest: digest.to_vec(), deadline: left },
            Operation::Unwrap { scheme, wrapped } => {
                Request::Unwrap { caller, id, scheme, wrapped: wrapped.to_vec(), deadline: left }
            }
        };
        let Response::Bytes { bytes, uses } = self.0.call(request, deadline).await? else { return Err(ENDED) };
        lock(&self.0.seen).uses = uses;
        let bytes = Zeroizing::new(bytes);
        if let Operation::Sign { scheme, digest } = operation {
            let spki = lock(&self.0.seen).keys.iter().find(|key| key.id == id).map(|key| key.spki_der.clone());
            // Verified here, too: the process with the vendor's library is not believed.
            if !spki.is_some_and(|spki| self.0.public.signature_holds(id, &spki, scheme, digest, &bytes)) {
                return Err(KeystoreError::SignatureInvalid);
            }
        }
        Ok(bytes)
    }

    pub(crate) async fn find(
        &self,
        caller: &Arc<str>,
        label: &str,
        deadline: Option<Instant>,
    ) -> Result<KeyDescription, KeystoreError> {
        let request = Request::Find { caller: caller.to_string(), label: label.to_owned(), deadline: remaining(deadline)? };
        match self.0.call(request, deadline).await? {
            Response::Key(key, seen) => {
                self.0.note(*seen);
                Ok(*key)
            }
            _ => Err(ENDED),
        }
    }

    pub(crate) async fn check(&self, deadline: Option<Instant>) -> Result<(), KeystoreError> {
        match self.0.call(Request::Check { deadline: remaining(deadline)? }, deadline).await {
            Ok(Response::Done(seen)) => {
                self.0.note(*seen);
                Ok(())
            }
            Ok(_) => Err(ENDED),
            Err(error) => {
                if error == KeystoreError::DeadlineExceeded {
                    self.0.end_silent_process();
                }
                Err(error)
            }
        }
    }

    /// Returns the token as its process described it last.
    pub(crate) fn seen(&self) -> Seen {
        lock(&self.0.seen).clone()
    }

    pub(crate) fn serves(&self, id: KeyId) -> bool {
        let seen = lock(&self.0.seen);
        seen.ready.is_ok() && seen.keys.iter().any(|key| key.id == id)
    }

    /// Returns the number of key uses so far, by all processes.
    pub(crate) fn uses(&self) -> KeyUses {
        let (before, now) = (*lock(&self.0.before), lock(&self.0.seen).uses);
        KeyUses { signatures: before.signatures + now.signatures, decryptions: before.decryptions + now.decryptions }
    }

    pub(crate) fn waiting(&self) -> usize {
        lock(&self.0.calls).len().saturating_sub(self.0.config.session_count())
    }

    pub(crate) fn give_up(&self) {
        self.0.given_up.cancel();
    }

    /// Ends the process: in order if it answers, else at once.
    pub(crate) fn close(&self) {
        self.0.closing.store(true, Ordering::Release);
        if let Some(mut link) = lock(&self.0.link).take() {
            let _ = link.socket.send(&Numbered { number: 0, body: Request::Close });
            link.process.end();
        }
        lock(&self.0.calls).clear();
    }
}

impl Drop for Isolated {
    fn drop(&mut self) {
        self.close();
    }
}

/// Withdraws a call whose caller has left.
struct Withdraw<'a>(&'a Shared, u64);

impl Drop for Withdraw<'_> {
    fn drop(&mut self) {
        if lock(&self.0.calls).remove(&self.1).is_some() {
            let _ = self.0.send(self.1, Request::Cancel);
        }
    }
}

impl Shared {
    /// Sends a request and waits for its answer.
    async fn call(&self, request: Request, deadline: Option<Instant>) -> Result<Response, KeystoreError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        lock(&self.calls).insert(number, reply);
        let _withdraw = Withdraw(self, number);
        self.send(number, request)?;
        let answer = async {
            match deadline {
                Some(deadline) => {
                    tokio::time::timeout_at(deadline.into(), answer).await.map_err(|_| KeystoreError::DeadlineExceeded)
                }
                None => Ok(answer.await),
            }
        };
        let answer = tokio::select! {
            answer = answer => answer?.map_err(|_| ENDED)?,
            () = self.given_up.cancelled() => {
                return Err(KeystoreError::Unavailable { reason: "the service ends, and the token has not answered" });
            }
        };
        match answer {
            Response::Refused(error, seen) => {
                self.note(*seen);
                Err(error)
            }
            other => Ok(other),
        }
    }

    fn send(&self, number: u64, body: Request) -> Result<(), KeystoreError> {
        let socket = lock(&self.link).as_ref().map(|link| link.socket.clone()).ok_or(ENDED)?;
        socket.send(&Numbered { number, body }).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => KeystoreError::Overloaded,
            _ => ENDED,
        })
    }

    /// Kills a process that has answered nothing for as long as a call may last.
    fn end_silent_process(&self) {
        if lock(&self.last_answer).elapsed() > self.config.call_timeout
            && let Some(link) = &mut *lock(&self.link)
        {
            tracing::error!(process = link.process.id(), "the token's process does not answer: it is killed");
            link.process.kill();
        }
    }

    fn note(&self, seen: Seen) {
        // Only a new process helps a module with calls that do not return and a token that is lost.
        let is_stuck = seen.hung > 0 && seen.ready.is_err();
        *lock(&self.seen) = seen;
        if is_stuck && let Some(link) = &mut *lock(&self.link) {
            tracing::error!(process = link.process.id(), "calls hang in the token's module: its process is killed");
            link.process.kill();
        }
    }

    /// Receives answers until the process ends, then starts another one.
    fn supervise(&self, mut socket: Socket) {
        let mut pause = FIRST_PAUSE;
        loop {
            self.receive(&socket);
            let mut uses = lock(&self.before);
            {
                let mut seen = lock(&self.seen);
                uses.signatures += seen.uses.signatures;
                uses.decryptions += seen.uses.decryptions;
                (seen.uses, seen.hung, seen.ready) = (KeyUses::default(), 0, Err(ENDED));
            }
            drop(uses);
            drop(lock(&self.link).take());
            // Disconnects the callers, who get an error.
            lock(&self.calls).clear();
            loop {
                if self.closing.load(Ordering::Acquire) {
                    return;
                }
                match start(&self.config, &self.isolation, self.needed, &self.trials) {
                    Ok((link, seen)) => {
                        tracing::warn!(process = link.process.id(), "the token's process was started again");
                        socket = link.socket.clone();
                        let mut place = lock(&self.link);
                        // Set before `close` takes the link: a process that is started now would outlive the keystore.
                        if self.closing.load(Ordering::Acquire) {
                            return;
                        }
                        *lock(&self.seen) = seen;
                        *lock(&self.last_answer) = Instant::now();
                        *place = Some(link);
                        pause = FIRST_PAUSE;
                        break;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the token's process cannot be started");
                        std::thread::sleep(pause);
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                }
            }
        }
    }

    fn receive(&self, socket: &Socket) {
        loop {
            let Numbered { number, body } = match socket.receive() {
                Ok(Some(message)) => message,
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(%error, "the token's process sent what is no message");
                    return;
                }
            };
            *lock(&self.last_answer) = Instant::now();
            match body {
                Response::AboutToTry { .. } | Response::Found { .. } => report_trial(&self.trials, socket, number, body),
                answer => {
                    if let Some(caller) = lock(&self.calls).remove(&number) {
                        // The caller may have left.
                        let _ = caller.send(answer);
                    }
                }
            }
        }
    }
}

/// Starts a process and has it open the token.
fn start(config: &KeystoreConfig, isolation: &Isolation, needed: Needed, trials: &Trials) -> Result<(Link, Seen), KeystoreError> {
    let (process, socket) = WorkerProcess::start(isolation).map_err(|error| {
        tracing::error!(%error, program = %isolation.program.display(), "the token's process cannot be started");
        KeystoreError::Unavailable { reason: "the token's process cannot be started" }
    })?;
    let settings = Settings::new(config, isolation.writable(&config.access), needed, trials.get().is_some());
    let opening = Numbered { number: 0, body: Request::Open(Box::new(settings)) };
    socket.send(&opening).map_err(|_| ENDED)?;
    socket.give_up_receiving_after(Some(OPENING)).map_err(|_| ENDED)?;
    loop {
        match socket.receive() {
            Ok(Some(Numbered { body: Response::Done(seen), .. })) => {
                socket.give_up_receiving_after(None).map_err(|_| ENDED)?;
                return Ok((Link { socket, process }, *seen));
            }
            Ok(Some(Numbered { body: Response::NotOpened(error), .. })) => return Err(error),
            Ok(Some(Numbered { number, body: body @ (Response::AboutToTry { .. } | Response::Found { .. }) })) => {
                report_trial(trials, &socket, number, body);
            }
            Ok(_) => return Err(KeystoreError::Unavailable { reason: "its module ended the process that opened it" }),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                return Err(KeystoreError::Unavailable { reason: "its module does not return from opening it" });
            }
            Err(error) => {
                tracing::error!(%error, "the token's process sent what is no message");
                return Err(ENDED);
            }
        }
    }
}

fn report_trial(trials: &Trials, socket: &Socket, number: u64, report: Response) {
    let log = trials.get();
    match report {
        Response::AboutToTry { key, most } => {
            let answer = log.map_or(Ok(()), |log| log.about_to_try(&key, most));
            let _ = socket.send(&Numbered { number, body: Request::Trial(answer) });
        }
        Response::Found { keys, uses } => {
            if let Some(log) = log {
                log.found(&keys, uses);
            }
        }
        _ => {}
    }
}

fn remaining(deadline: Option<Instant>) -> Result<Option<Duration>, KeystoreError> {
    match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
        Some(left) if left.is_zero() => Err(KeystoreError::DeadlineExceeded),
        left => Ok(left),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
