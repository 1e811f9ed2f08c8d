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
    attempt_error::{AttemptError, abandon},
    fair_queue::FairQueue,
    keys::{Key, not_found},
    mechanisms,
    module::lock,
    oaep,
    probe::UnwrapMethod,
    rv::{RvClass, classify},
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
            // A key is read in a session of its own.
            if !matches!(task, Task::Load { .. })
                && let Some(left) = slot.take()
            {
                abandon(left.session, &error);
            }
            match classify(&error) {
                RvClass::Session | RvClass::Handle if !session_retried => session_retried = true,
                RvClass::Login if !login_retried => {
                    login_retried = true;
                    self.log_in_again().map_err(|error| self.conclude(error))?;
                }
                _ => return Err(self.conclude(error.into())),
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
                self.load_and_report(label)?;
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
