//! Worker threads, one session each: a worker takes calls from the queue and performs each on the token, once.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use cryptoki::{
    context::Function,
    error::{Error, RvError},
    object::ObjectHandle,
};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::{
    attempt_error::{AttemptError, abandon},
    fair_queue::{FairQueue, Popped},
    keys::{Key, not_found},
    mechanisms,
    module::lock,
    oaep,
    probe::UnwrapMethod,
    pss,
    rv::{RvClass, classify, fault, translate},
    session_slot::SessionSlot,
    shared_state::SharedState,
    worker_slot::WorkerSlot,
};
use crate::{KeyType, KeyUses, KeystoreError, OaepScheme, SignScheme, operation::Outcome};

/// Tasks of a worker.
pub(crate) enum Task {
    Sign {
        key: Arc<Key>,
        scheme: SignScheme,
        /// The digest, or the message, that the scheme signs.
        signed: Vec<u8>,
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
    /// Check the token without using a key.
    Check,
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

/// Main loop of a worker thread: ends when the queue is closed, or when its call returns after it was given up.
pub(super) fn run(shared: &SharedState, worker: &WorkerSlot, jobs: &FairQueue<Job>) {
    while !worker.is_abandoned() {
        match jobs.pop(shared.keep_alive) {
            Popped::Job(job) => carry_out(shared, worker, job),
            Popped::Idle => {
                worker.begin(None);
                shared.keep_alive(worker);
                worker.end();
            }
            Popped::Closed => return,
        }
    }
    shared.returned(worker);
}

fn carry_out(shared: &SharedState, worker: &WorkerSlot, Job { task, deadline, reply }: Job) {
    // No caller waits any more, so the token is not used.
    if reply.is_closed() {
        return;
    }
    if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
        // The caller may have left meanwhile.
        let _ = reply.send(Err(KeystoreError::DeadlineExceeded));
        return;
    }
    worker.begin(Some(reply));
    let outcome = catch_unwind(AssertUnwindSafe(|| shared.serve(worker, &task))).unwrap_or_else(|_| {
        lock(&worker.session).take();
        Err(KeystoreError::Fault { operation: "the worker".to_owned(), code: "panic".to_owned() })
    });
    if let Some(reply) = worker.end() {
        let _ = reply.send(outcome);
    }
}

impl SharedState {
    fn serve(&self, worker: &WorkerSlot, task: &Task) -> Outcome {
        let mut slot = lock(&worker.session);
        // Checked while holding the session: the recovery thread takes all sessions before it touches the module.
        self.ready()?;
        let (mut session_retried, mut login_retried) = (false, false);
        loop {
            if session_retried || login_retried {
                self.announce_again(task)?;
            }
            let error = match self.attempt(&mut slot, task) {
                Ok(value) => {
                    self.counters.succeeded();
                    return Ok(value);
                }
                Err(AttemptError::Decided(error)) => return Err(error),
                Err(AttemptError::Token(error)) => error,
            };
            let class = match self.token.classify(&error) {
                // Kryoptic does not name a lost login.
                RvClass::Other if begins_a_use(&error) && slot.as_ref().is_some_and(SessionSlot::is_logged_out) => RvClass::Login,
                class => class,
            };
            // A key is read in a session of its own.
            if !matches!(task, Task::Load { .. })
                && let Some(left) = slot.take()
            {
                abandon(left.session, &error);
            }
            // Another worker has this one's place, and the caller has its answer.
            if worker.is_abandoned() {
                return Err(fault(&error));
            }
            match class {
                // The key's trial did not refuse it: NSS refuses the use of a key in a session that another thread logs in meanwhile.
                RvClass::Session | RvClass::Handle | RvClass::Refused if !session_retried => session_retried = true,
                RvClass::Login if !login_retried => {
                    login_retried = true;
                    self.log_in_again().map_err(|error| self.conclude(error))?;
                }
                RvClass::Exhausted => return Err(translate(&error)),
                _ if matches!(task, Task::Check) => {
                    self.mark_down("the token does not answer");
                    return Err(self.ready().err().unwrap_or_else(|| fault(&error)));
                }
                _ => return Err(self.conclude(error.into())),
            }
        }
    }

    /// Reports that a key may be used a second time for one call: its record announces one use.
    fn announce_again(&self, task: &Task) -> Result<(), KeystoreError> {
        let (key, most) = match task {
            Task::Sign { key, .. } => (key, KeyUses { signatures: 1, decryptions: 0 }),
            Task::Unwrap { key, .. } => (key, KeyUses { signatures: 0, decryptions: 1 }),
            _ => return Ok(()),
        };
        self.trials.get().map_or(Ok(()), |log| log.about_to_try(&key.description(), most))
    }

    /// Uses an idle session, so that no firewall closes its connection. A session that fails is dropped.
    fn keep_alive(&self, worker: &WorkerSlot) {
        let mut slot = lock(&worker.session);
        if self.ready().is_err() {
            return;
        }
        let Some(error) = slot.as_ref().and_then(|slot| slot.session.get_session_info().err()) else { return };
        if let Some(left) = slot.take() {
            abandon(left.session, &error);
        }
        if classify(&error) == RvClass::Device && !worker.is_abandoned() {
            self.mark_down("the token does not answer");
        }
    }

    fn attempt(&self, place: &mut Option<SessionSlot>, task: &Task) -> Result<Zeroizing<Vec<u8>>, AttemptError> {
        let slot = match place {
            Some(slot) => slot,
            None => match (self.token.session(), task) {
                (Ok(session), _) => place.insert(SessionSlot::new(session)),
                // Other workers may have their sessions, and serve calls.
                (Err(error), Task::Check) if classify(&error) == RvClass::Exhausted => {
                    return self.look_through_login_session(&error).map(|()| Zeroizing::default());
                }
                (Err(error), _) => return Err(error.into()),
            },
        };
        match task {
            Task::Sign { key, scheme, signed } => {
                let handle = self.handle(slot, key)?;
                if key.capabilities.signs_raw.contains(scheme) {
                    let block = pss::encode(*scheme, key.bits(), signed)?;
                    let block = block.ok_or_else(|| AttemptError::Decided(key.unsupported(scheme.name(), scheme.key_type())))?;
                    self.counters.signature();
                    return Ok(Zeroizing::new(mechanisms::sign_raw(&slot.session, handle, &block)?));
                }
                self.counters.signature();
                let signature = mechanisms::sign(&slot.session, handle, key.bits(), *scheme, signed)
                    .ok_or_else(|| AttemptError::Decided(key.unsupported(scheme.name(), scheme.key_type())))??;
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
                    UnwrapMethod::No => Err(AttemptError::Decided(key.unsupported(scheme.name(), KeyType::Rsa))),
                }
            }
            Task::Load { label } => {
                self.load_and_report(label)?;
                Ok(Zeroizing::default())
            }
            Task::Check => {
                self.look_at(&slot.session)?;
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

fn begins_a_use(error: &Error) -> bool {
    matches!(error, Error::Pkcs11(_, Function::SignInit | Function::DecryptInit))
}

fn is_refusal(error: &Error, learnt: Option<RvError>) -> bool {
    classify(error) == RvClass::Padding || matches!(error, Error::Pkcs11(value, _) if learnt == Some(*value))
}
