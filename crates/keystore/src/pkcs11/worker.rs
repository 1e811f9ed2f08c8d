//! Worker threads, one session each: a worker takes calls from the queue and performs each on the token, once.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use cryptoki::{
    error::{Error, RvError},
    object::ObjectHandle,
};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::{
    fair_queue::FairQueue,
    keys::{Key, not_found},
    mechanisms,
    module::lock,
    oaep,
    probe::UnwrapMethod,
    rv::{RvClass, classify, code, handle_is_stale, translate},
    session_slot::SessionSlot,
    shared_state::SharedState,
};
use crate::{KeystoreError, OaepScheme, SignScheme};

pub(crate) type Outcome = Result<Zeroizing<Vec<u8>>, KeystoreError>;

/// Tasks of a worker.
pub(crate) enum Task {
    Sign {
        key: Arc<Key>,
        scheme: SignScheme,
        digest: Vec<u8>,
    },
    Unwrap {
        key: Arc<Key>,
        scheme: OaepScheme,
        wrapped: Vec<u8>,
    },
    /// Read and probe a key that was missing.
    Load {
        label: String,
    },
    /// Panics, to test that no caller is left waiting.
    #[cfg(test)]
    Panic,
    /// Reports that it has started, and blocks until it is released.
    #[cfg(test)]
    Hang {
        begun: crossbeam_channel::Sender<()>,
        until: crossbeam_channel::Receiver<()>,
    },
}

/// A task, its caller and its deadline.
pub(super) struct Job {
    pub(super) task: Task,
    pub(super) deadline: Option<Instant>,
    pub(super) reply: oneshot::Sender<Outcome>,
}

/// Why an attempt ended without a result.
enum AttemptError {
    /// The token returned a proper result; the session is usable.
    Decided(KeystoreError),
    /// The session must be closed.
    Token(Error),
}

impl From<Error> for AttemptError {
    fn from(error: Error) -> AttemptError {
        AttemptError::Token(error)
    }
}

/// Main loop of a worker thread: ends when the queue is closed.
pub(super) fn run(shared: &SharedState, slot: usize, jobs: &FairQueue<Job>) {
    while let Some(Job { task, deadline, reply }) = jobs.pop() {
        // No caller waits any more, so the token is not used.
        if reply.is_closed() {
            continue;
        }
        let outcome = if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            Err(KeystoreError::DeadlineExceeded)
        } else {
            catch_unwind(AssertUnwindSafe(|| shared.serve(slot, &task))).unwrap_or_else(|_| {
                lock(&shared.slots[slot]).take();
                Err(KeystoreError::Fault { operation: "the worker".to_owned(), code: "panic".to_owned() })
            })
        };
        // The caller may have left meanwhile.
        let _ = reply.send(outcome);
    }
}

impl SharedState {
    fn serve(&self, slot: usize, task: &Task) -> Outcome {
        let mut slot = lock(&self.slots[slot]);
        // Checked while holding the slot: the recovery thread locks all slots before it touches the module.
        self.ready()?;
        let (mut session_retried, mut login_retried) = (false, false);
        loop {
            let error = match self.attempt(&mut slot, task) {
                Ok(value) => {
                    self.counters.succeeded();
                    return Ok(value);
                }
                Err(AttemptError::Decided(error)) => return Err(error),
                Err(AttemptError::Token(error)) => error,
            };
            // After an error of unknown effect the session is not used again.
            if let Some(left) = slot.take()
                && handle_is_stale(&error)
            {
                std::mem::forget(left.session);
            }
            match classify(&error) {
                RvClass::Session | RvClass::Handle if !session_retried => session_retried = true,
                RvClass::Login if !login_retried => {
                    login_retried = true;
                    self.log_in_again()?;
                }
                RvClass::Device => {
                    self.mark_down("the token does not answer");
                    return Err(translate(&error));
                }
                RvClass::Exhausted => return Err(translate(&error)),
                RvClass::Pin | RvClass::Refused | RvClass::Padding => return Err(fault(&error)),
                RvClass::Session | RvClass::Handle | RvClass::Login | RvClass::Other => {
                    if self.counters.failed_repeatedly() {
                        self.mark_down("the token failed repeatedly");
                    }
                    return Err(fault(&error));
                }
            }
        }
    }

    fn attempt(&self, place: &mut Option<SessionSlot>, task: &Task) -> Result<Zeroizing<Vec<u8>>, AttemptError> {
        let slot = match place {
            Some(slot) => slot,
            None => place.insert(SessionSlot::new(self.token.session()?)),
        };
        match task {
            Task::Sign { key, scheme, digest } => {
                let handle = self.handle(slot, key)?;
                self.counters.signature();
                let signature = mechanisms::sign(&slot.session, handle, key.bits(), *scheme, digest)
                    .ok_or_else(|| AttemptError::Decided(key.unsupported(scheme.name())))??;
                Ok(Zeroizing::new(signature))
            }
            Task::Unwrap { key, scheme, wrapped } => {
                let handle = self.handle(slot, key)?;
                match key.capabilities.unwrap_method(*scheme) {
                    UnwrapMethod::Native { refusal } => {
                        self.counters.decryption();
                        match mechanisms::decrypt_oaep(&slot.session, handle, *scheme, wrapped) {
                            Ok(secret) => Ok(secret),
                            Err(error) if is_refusal(&error, refusal) => {
                                // Some tokens leave the operation active after a refusal.
                                place.take();
                                Err(AttemptError::Decided(KeystoreError::UnwrapFailed))
                            }
                            Err(error) => Err(error.into()),
                        }
                    }
                    UnwrapMethod::Raw => {
                        self.counters.decryption();
                        let block = mechanisms::decrypt_raw(&slot.session, handle, wrapped)?;
                        oaep::unpad(block, *scheme).map_err(|_| AttemptError::Decided(KeystoreError::UnwrapFailed))
                    }
                    UnwrapMethod::No => Err(AttemptError::Decided(key.unsupported(scheme.name()))),
                }
            }
            Task::Load { label } => {
                self.load_and_report(label).map_err(AttemptError::Decided)?;
                Ok(Zeroizing::default())
            }
            #[cfg(test)]
            Task::Panic => panic!("as asked"),
            #[cfg(test)]
            Task::Hang { begun, until } => {
                let _ = (begun.send(()), until.recv());
                Ok(Zeroizing::default())
            }
        }
    }

    fn handle(&self, slot: &mut SessionSlot, key: &Arc<Key>) -> Result<ObjectHandle, AttemptError> {
        slot.handle(key)?.ok_or_else(|| {
            self.keys.forget(key);
            AttemptError::Decided(not_found(key.label()))
        })
    }
}

fn is_refusal(error: &Error, learnt: Option<RvError>) -> bool {
    classify(error) == RvClass::Padding || matches!(error, Error::Pkcs11(value, _) if learnt == Some(*value))
}

/// Converts an error that remains after the retries: a fault of the token, whatever its name.
fn fault(error: &Error) -> KeystoreError {
    match error {
        Error::Pkcs11(value, function) => KeystoreError::Fault { operation: format!("C_{function:?}"), code: code(value) },
        _ => translate(error),
    }
}
