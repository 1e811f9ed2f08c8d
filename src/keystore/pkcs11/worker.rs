//! One thread, one session: takes calls from the queue and does each on the token, once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use cryptoki::error::{Error, RvError};
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::fault::{Fault, classify, code, handle_is_stale, translate};
use super::keeper::Shared;
use super::keys::{Key, not_found};
use super::mechanisms;
use super::module::lock;
use super::oaep;
use super::probe::Way;
use super::turns::Turns;
use crate::keystore::{KeystoreError, OaepScheme, SignScheme};

pub(super) type Answer = Result<Zeroizing<Vec<u8>>, KeystoreError>;

/// What a worker is asked to do.
pub(super) enum Task {
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
    /// Read and try a key that had gone.
    Learn {
        label: String,
    },
    /// Panics, to see that nobody is left waiting.
    #[cfg(test)]
    Panic,
    /// Says that it has begun, and does not come back before it is let go.
    #[cfg(test)]
    Hang {
        begun: crossbeam_channel::Sender<()>,
        until: crossbeam_channel::Receiver<()>,
    },
}

/// A task, and who waits for it how long.
pub(super) struct Job {
    pub(super) task: Task,
    pub(super) deadline: Option<Instant>,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// A worker's place at the token. Handles live and die with the session that found them.
pub(super) struct Seat {
    session: Session,
    handles: Vec<(Arc<Key>, ObjectHandle)>,
}

/// Why an attempt ended without a result.
enum Trouble {
    /// The token answered properly, the session is fine.
    Decided(KeystoreError),
    /// The session must go.
    Token(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Token(error)
    }
}

/// The life of a worker thread: ends when the queue is closed.
pub(super) fn run(shared: &Shared, seat: usize, jobs: &Turns<Job>) {
    while let Some(Job { task, deadline, answer }) = jobs.pop() {
        // Nobody waits any more: the token is spared.
        if answer.is_closed() {
            continue;
        }
        let outcome = if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            Err(KeystoreError::DeadlineExceeded)
        } else {
            catch_unwind(AssertUnwindSafe(|| shared.serve(seat, &task))).unwrap_or_else(|_| {
                lock(&shared.seats[seat]).take();
                Err(KeystoreError::Fault { operation: "the worker".to_owned(), code: "panic".to_owned() })
            })
        };
        // The caller may have left meanwhile.
        let _ = answer.send(outcome);
    }
}

impl Shared {
    fn serve(&self, seat: usize, task: &Task) -> Answer {
        let mut seat = lock(&self.seats[seat]);
        // Looked at with the seat held: the keeper takes all seats before it touches the module.
        self.ready()?;
        let (mut session_retried, mut login_retried) = (false, false);
        loop {
            let error = match self.attempt(&mut seat, task) {
                Ok(value) => {
                    self.counters.succeeded();
                    return Ok(value);
                }
                Err(Trouble::Decided(error)) => return Err(error),
                Err(Trouble::Token(error)) => error,
            };
            // After any error of unknown effect the session is not used again.
            if let Some(left) = seat.take()
                && handle_is_stale(&error)
            {
                std::mem::forget(left.session);
            }
            match classify(&error) {
                Fault::Session | Fault::Handle if !session_retried => session_retried = true,
                Fault::Login if !login_retried => {
                    login_retried = true;
                    self.log_in_again()?;
                }
                Fault::Device => {
                    self.lost("the token does not answer");
                    return Err(translate(&error));
                }
                Fault::Exhausted => return Err(translate(&error)),
                Fault::Pin | Fault::Refused | Fault::Padding => return Err(fault(&error)),
                Fault::Session | Fault::Handle | Fault::Login | Fault::Other => {
                    if self.counters.failed_repeatedly() {
                        self.lost("the token failed repeatedly");
                    }
                    return Err(fault(&error));
                }
            }
        }
    }

    fn attempt(&self, place: &mut Option<Seat>, task: &Task) -> Result<Zeroizing<Vec<u8>>, Trouble> {
        let seat = match place {
            Some(seat) => seat,
            None => place.insert(Seat { session: self.token.session()?, handles: Vec::new() }),
        };
        match task {
            Task::Sign { key, scheme, digest } => {
                let handle = self.handle(seat, key)?;
                self.counters.signature();
                let signature = mechanisms::sign(&seat.session, handle, key.bits(), *scheme, digest)
                    .ok_or_else(|| Trouble::Decided(key.unsupported(scheme.name())))??;
                Ok(Zeroizing::new(signature))
            }
            Task::Unwrap { key, scheme, wrapped } => {
                let handle = self.handle(seat, key)?;
                match key.findings.way(*scheme) {
                    Way::Native { refusal } => {
                        self.counters.decryption();
                        match mechanisms::decrypt_oaep(&seat.session, handle, *scheme, wrapped) {
                            Ok(secret) => Ok(secret),
                            Err(error) if is_refusal(&error, refusal) => {
                                // Some tokens leave the operation active after a refusal.
                                place.take();
                                Err(Trouble::Decided(KeystoreError::UnwrapFailed))
                            }
                            Err(error) => Err(error.into()),
                        }
                    }
                    Way::Raw => {
                        self.counters.decryption();
                        let block = mechanisms::decrypt_raw(&seat.session, handle, wrapped)?;
                        oaep::unpad(block, *scheme).map_err(|_| Trouble::Decided(KeystoreError::UnwrapFailed))
                    }
                    Way::No => Err(Trouble::Decided(key.unsupported(scheme.name()))),
                }
            }
            Task::Learn { label } => {
                self.learn_and_tell(label).map_err(Trouble::Decided)?;
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

    fn handle(&self, seat: &mut Seat, key: &Arc<Key>) -> Result<ObjectHandle, Trouble> {
        if let Some((_, handle)) = seat.handles.iter().find(|(known, _)| Arc::ptr_eq(known, key)) {
            return Ok(*handle);
        }
        let Some(handle) = key.find(&seat.session)? else {
            self.keys.forget(key);
            return Err(Trouble::Decided(not_found(key.label())));
        };
        seat.handles.push((Arc::clone(key), handle));
        Ok(handle)
    }
}

fn is_refusal(error: &Error, learnt: Option<RvError>) -> bool {
    classify(error) == Fault::Padding || matches!(error, Error::Pkcs11(value, _) if learnt == Some(*value))
}

/// What is left after the retries is the token's fault, whatever its name.
fn fault(error: &Error) -> KeystoreError {
    match error {
        Error::Pkcs11(value, function) => KeystoreError::Fault { operation: format!("C_{function:?}"), code: code(value) },
        _ => translate(error),
    }
}
