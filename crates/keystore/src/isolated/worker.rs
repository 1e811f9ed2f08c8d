//! Main function of a worker process: has the token's module, and carries out what the service asks for on standard input.

use std::{
    collections::HashMap,
    io,
    os::fd::AsFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use stationmaster_system::sandbox;
use tokio::{runtime::Builder, task::AbortHandle};

use super::{
    socket::Socket,
    wire::{Numbered, Request, Response, Seen},
};
use crate::{
    KeyDescription, KeyUses, KeystoreError, TrialLog,
    identities::Identities,
    operation::{Operation, Outcome},
    pkcs11::Pool,
};

/// How long a call in the module may continue when the service has closed the connection.
const LAST_CALL: Duration = Duration::from_secs(5);

/// Serves one token until the service closes the connection, which is standard input. Called before any thread runs.
///
/// # Errors
/// When standard input is no such connection.
pub fn run() -> io::Result<()> {
    ignore_signals();
    let socket = Socket::new(io::stdin().as_fd().try_clone_to_owned()?);
    let Some(Numbered { body: Request::Open(settings), .. }) = socket.receive()? else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "standard input is no connection to a service"));
    };
    let not_opened = |error| socket.send_waiting(&Numbered { number: 0, body: Response::NotOpened(error) });
    if let Some(writable) = &settings.writable
        && let Err(error) = sandbox::enter(writable)
    {
        tracing::error!(%error, "the sandbox of the token's process cannot be entered");
        return not_opened(KeystoreError::Unavailable { reason: "the sandbox of the token's process cannot be entered" });
    }
    let (needed, trials, identities) = (settings.needed, settings.trials, Identities::default());
    identities.note(settings.identities.clone());
    let config = match settings.config() {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(%error, "the PIN cannot be read");
            return not_opened(KeystoreError::Unavailable { reason: "the PIN cannot be read at its source" });
        }
    };
    let service = Arc::new(Service { socket: socket.clone(), trials: Mutex::default(), next: AtomicU64::new(1) });
    let log: Arc<dyn TrialLog> = service.clone();
    let reader = Arc::clone(&service);
    let (requests, received) = mpsc::channel();
    // A trial at the start waits for the service's answer, which this thread receives.
    std::thread::Builder::new().name("requests".to_owned()).spawn(move || reader.read(&requests))?;
    let pool = match Pool::open(&config, needed, trials.then_some(&log), &identities) {
        Ok(pool) => Arc::new(pool),
        Err(error) => return not_opened(error),
    };
    pool.state().announce_trials_to(log);
    socket.send_waiting(&Numbered { number: 0, body: Response::Done(Box::new(seen(&pool))) })?;
    serve(&pool, &identities, &socket, &received)?;
    end(&pool);
    Ok(())
}

/// Ignores the signals that end the service: a service manager and a terminal send them to all processes, and the service needs the
/// token until it has closed the connection.
fn ignore_signals() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        #[expect(unsafe_code, reason = "ignores a signal")]
        // SAFETY: no handler is installed, and no thread runs.
        unsafe {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
}

fn serve(
    pool: &Arc<Pool>,
    identities: &Identities,
    socket: &Socket,
    received: &mpsc::Receiver<Numbered<Request>>,
) -> io::Result<()> {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_time().build()?;
    let tasks: Arc<Mutex<HashMap<u64, AbortHandle>>> = Arc::default();
    while let Ok(Numbered { number, body }) = received.recv() {
        if let Request::Check { identities: shown, .. } = &body {
            identities.replace(shown.clone());
        }
        match body {
            Request::Close => break,
            Request::Cancel => {
                if let Some(task) = lock(&tasks).remove(&number) {
                    task.abort();
                }
            }
            request => {
                let (pool, socket, of_task) = (Arc::clone(pool), socket.clone(), Arc::clone(&tasks));
                // Held until the task is in the map, so that it cannot remove itself before.
                let mut tasks = lock(&tasks);
                let task = runtime.spawn(async move {
                    let answer = carry_out(&pool, request).await;
                    lock(&of_task).remove(&number);
                    // The service may have ended.
                    let _ = socket.send_waiting(&Numbered { number, body: answer });
                });
                tasks.insert(number, task.abort_handle());
            }
        }
    }
    runtime.shutdown_background();
    Ok(())
}

/// Closes the token; a call that does not return ends with the process.
fn end(pool: &Arc<Pool>) {
    let (pool, (closed, waits)) = (Arc::clone(pool), mpsc::channel());
    let closing = std::thread::spawn(move || {
        let _ = closed.send(pool.close());
    });
    if waits.recv_timeout(LAST_CALL * 2) == Ok(true) {
        let _ = closing.join();
    } else {
        // Without exit handlers, which crash token libraries during a call.
        #[expect(unsafe_code, reason = "ends the process without exit handlers")]
        // SAFETY: the function does not return, and reads no memory.
        unsafe {
            libc::_exit(0)
        }
    }
}

async fn carry_out(pool: &Pool, request: Request) -> Response {
    let until = |left: Option<Duration>| left.map(|left| Instant::now() + left);
    let bytes = |outcome: Outcome| match outcome {
        Ok(bytes) => Response::Bytes { bytes: bytes.to_vec(), uses: pool.state().counters.uses() },
        Err(error) => Response::Refused(error, Box::new(seen(pool))),
    };
    match request {
        Request::Sign { caller, id, scheme, signed, deadline } => {
            let operation = Operation::Sign { scheme, signed: &signed };
            bytes(pool.carry_out(&Arc::from(caller), id, operation, until(deadline)).await)
        }
        Request::Unwrap { caller, id, scheme, wrapped, deadline } => {
            let operation = Operation::Unwrap { scheme, wrapped: &wrapped };
            bytes(pool.carry_out(&Arc::from(caller), id, operation, until(deadline)).await)
        }
        Request::Find { caller, label, deadline } => match pool.find(&Arc::from(caller), &label, until(deadline)).await {
            Ok(key) => Response::Key(Box::new(key.description()), Box::new(seen(pool))),
            Err(error) => Response::Refused(error, Box::new(seen(pool))),
        },
        Request::Check { deadline, .. } => match pool.check(until(deadline)).await {
            Ok(()) => Response::Done(Box::new(seen(pool))),
            Err(error) => Response::Refused(error, Box::new(seen(pool))),
        },
        Request::Open(_) | Request::Trial(_) | Request::Cancel | Request::Close => Response::Refused(
            KeystoreError::Fault { operation: "the worker process".to_owned(), code: "protocol".to_owned() },
            Box::new(seen(pool)),
        ),
    }
}

fn seen(pool: &Pool) -> Seen {
    let state = pool.state();
    Seen {
        uri: state.token.uri().clone(),
        ready: state.ready(),
        keys: state.keys.present().iter().map(|key| key.description()).collect(),
        last_shown: state.keys.last_shown(),
        uses: state.counters.uses(),
        hung: state.hung(),
    }
}

/// The service, which records trials.
struct Service {
    socket: Socket,
    trials: Mutex<HashMap<u64, mpsc::Sender<Result<(), KeystoreError>>>>,
    next: AtomicU64,
}

impl Service {
    /// Receives requests until the connection is closed. Answers to trials go to those who wait for them.
    fn read(&self, requests: &mpsc::Sender<Numbered<Request>>) {
        while let Ok(Some(message)) = self.socket.receive::<Numbered<Request>>() {
            match message.body {
                Request::Trial(answer) => {
                    if let Some(waits) = lock(&self.trials).remove(&message.number) {
                        let _ = waits.send(answer);
                    }
                }
                _ if requests.send(message).is_err() => return,
                _ => {}
            }
        }
    }
}

impl TrialLog for Service {
    fn about_to_try(&self, key: &KeyDescription, most: KeyUses) -> Result<(), KeystoreError> {
        let gone = KeystoreError::Unavailable { reason: "a trial of the key cannot be recorded" };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = mpsc::channel();
        lock(&self.trials).insert(number, answer);
        let report = Response::AboutToTry { key: Box::new(key.clone()), most };
        self.socket.send_waiting(&Numbered { number, body: report }).map_err(|_| gone.clone())?;
        answered.recv().unwrap_or(Err(gone))
    }

    fn found(&self, keys: &[KeyDescription], uses: KeyUses) {
        let _ = self.socket.send_waiting(&Numbered { number: 0, body: Response::Found { keys: keys.to_vec(), uses } });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
