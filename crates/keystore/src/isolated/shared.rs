//! What the callers of a token in another process and its supervisor share, and a call to it.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    process::WorkerProcess,
    socket::Socket,
    wire::{Numbered, Request, Response, Seen},
};
use crate::{
    Isolation, KeyUses, KeystoreConfig, KeystoreError, identities::Identities, pkcs11::Needed, trial_log::Trials,
    verify::PublicKeys,
};

pub(super) const ENDED: KeystoreError = KeystoreError::Unavailable { reason: "the token's process ended" };

/// The process of a token, its callers, and what it told last.
pub(super) struct Shared {
    pub(super) config: KeystoreConfig,
    pub(super) isolation: Isolation,
    pub(super) needed: Needed,
    pub(super) trials: Trials,
    pub(super) identities: Identities,
    pub(super) link: Mutex<Option<Link>>,
    pub(super) seen: Mutex<Seen>,
    pub(super) public: PublicKeys,
    /// Uses by processes that have ended.
    pub(super) before: Mutex<KeyUses>,
    pub(super) calls: Mutex<HashMap<u64, oneshot::Sender<Response>>>,
    /// When the process last sent something.
    pub(super) last_answer: Mutex<Instant>,
    pub(super) next: AtomicU64,
    pub(super) closing: AtomicBool,
    pub(super) given_up: CancellationToken,
}

/// The running process and the connection to it.
pub(super) struct Link {
    pub(super) socket: Socket,
    pub(super) process: WorkerProcess,
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
    pub(super) async fn call(&self, request: Request, deadline: Option<Instant>) -> Result<Response, KeystoreError> {
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
    pub(super) fn end_silent_process(&self) {
        if lock(&self.last_answer).elapsed() > self.config.call_timeout
            && let Some(link) = &mut *lock(&self.link)
        {
            tracing::error!(process = link.process.id(), "the token's process does not answer: it is killed");
            link.process.kill();
        }
    }

    pub(super) fn note(&self, seen: Seen) {
        // Only a new process helps a module with calls that do not return and a token that is lost.
        let is_stuck = seen.hung > 0 && seen.ready.is_err();
        *lock(&self.seen) = seen;
        if is_stuck && let Some(link) = &mut *lock(&self.link) {
            tracing::error!(process = link.process.id(), "calls hang in the token's module: its process is killed");
            link.process.kill();
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
