//! State that the threads of a keystore share: the token, its login, the sessions of the workers and the keys.

use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crossbeam_channel::Sender;
use cryptoki::session::Session;

use super::{
    attempt_error::{AttemptError, abandon},
    counters::Counters,
    keyring::{KeyRing, Needed},
    module::lock,
    rv::{RvClass, classify, fault, translate},
    token::Token,
    worker_slot::WorkerSlot,
};
use crate::{KeystoreError, TrialLog};

/// Whether the token can be used at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Health {
    /// Logged in, and the keys were found.
    Ready,
    /// Unavailable; the recovery thread tries to get it back.
    Down {
        /// What was observed, without secrets.
        reason: &'static str,
    },
}

/// State shared by all threads of a keystore. Sessions are declared before the token, so that they are closed before the module.
pub(crate) struct SharedState {
    /// The workers with their sessions, without those that were given up. The recovery thread takes all sessions for exclusive use
    /// of the token.
    pub(super) workers: Mutex<Vec<Arc<WorkerSlot>>>,
    /// Number of calls that were given up and have not returned.
    pub(super) hung: AtomicUsize,
    /// Number of workers that use keys.
    pub(super) sessions: usize,
    /// How long a call in the module may last.
    pub(super) call_timeout: Duration,
    /// How long a session may be idle before it is used to keep its connection alive.
    pub(super) keep_alive: Option<Duration>,
    /// The session that holds the login while workers drop theirs.
    pub(super) login_session: Mutex<Option<Session>>,
    pub(crate) keys: KeyRing,
    pub(crate) counters: Counters,
    pub(super) health: Mutex<Health>,
    pub(super) closing: AtomicBool,
    /// Wakes the recovery thread.
    pub(super) wake: Sender<()>,
    /// Receives reports of trials after the start.
    pub(super) trials: OnceLock<Arc<dyn TrialLog>>,
    pub(crate) token: Token,
}

impl SharedState {
    /// Checks that calls may go to the token.
    pub(crate) fn ready(&self) -> Result<(), KeystoreError> {
        if self.closing.load(Ordering::Acquire) {
            return Err(KeystoreError::Unavailable { reason: "the keystore is closing" });
        }
        match &*lock(&self.health) {
            Health::Ready => Ok(()),
            Health::Down { reason } => Err(KeystoreError::Unavailable { reason }),
        }
    }

    /// Returns the workers, without those that were given up.
    pub(super) fn workers(&self) -> Vec<Arc<WorkerSlot>> {
        lock(&self.workers).clone()
    }

    pub(super) fn add(&self, worker: Arc<WorkerSlot>) {
        lock(&self.workers).push(worker);
    }

    pub(super) fn remove(&self, worker: &Arc<WorkerSlot>) {
        lock(&self.workers).retain(|known| !Arc::ptr_eq(known, worker));
    }

    /// Returns the number of calls that were given up and have not returned.
    pub(crate) fn hung(&self) -> usize {
        self.hung.load(Ordering::Acquire)
    }

    /// Returns the state last observed.
    #[cfg(test)]
    pub(crate) fn health(&self) -> Health {
        lock(&self.health).clone()
    }

    /// Reports every trial from now on to `log`. Only the first log is used.
    pub(crate) fn announce_trials_to(&self, log: Arc<dyn TrialLog>) {
        let _ = self.trials.set(log);
    }

    /// Marks the token as lost: callers get an error from now on, and the recovery thread starts its attempts.
    pub(super) fn mark_down(&self, reason: &'static str) {
        let mut health = lock(&self.health);
        if *health == Health::Ready {
            tracing::error!(reason, "the token is lost; trying to get it back");
            *health = Health::Down { reason };
        }
        drop(health);
        self.wake();
    }

    /// Triggers an attempt of the recovery thread now. A full channel means that one is pending.
    pub(super) fn wake(&self) {
        let _ = self.wake.try_send(());
    }

    /// Logs in again, once for all threads that notice the lost login. A session that turns out to be lost is replaced once.
    pub(super) fn log_in_again(&self) -> Result<(), AttemptError> {
        let mut login_session = lock(&self.login_session);
        if let Some(session) = login_session.take() {
            match self.token.login(&session) {
                Err(AttemptError::Token(error)) => {
                    abandon(session, &error);
                    if !matches!(classify(&error), RvClass::Session | RvClass::Handle | RvClass::Login) {
                        return Err(error.into());
                    }
                }
                outcome => {
                    *login_session = Some(session);
                    return outcome;
                }
            }
        }
        self.log_in(&mut login_session)
    }

    /// Opens the session that holds the login, if it was lost while others kept the login.
    pub(super) fn hold_login(&self) -> Result<(), AttemptError> {
        let mut login_session = lock(&self.login_session);
        if login_session.is_some() { Ok(()) } else { self.log_in(&mut login_session) }
    }

    pub(super) fn log_in(&self, login_session: &mut Option<Session>) -> Result<(), AttemptError> {
        let session = self.token.session()?;
        match self.token.login(&session) {
            Ok(()) => *login_session = Some(session),
            Err(AttemptError::Token(error)) => {
                abandon(session, &error);
                return Err(error.into());
            }
            Err(decided) => return Err(decided),
        }
        Ok(())
    }

    /// Returns the error for the caller when nothing is left to be tried, and starts the recovery of a lost token.
    pub(super) fn conclude(&self, error: AttemptError) -> KeystoreError {
        let error = match error {
            AttemptError::Decided(error) => return error,
            AttemptError::Token(error) => error,
        };
        match self.token.classify(&error) {
            RvClass::Device => {
                self.mark_down("the token does not answer");
                translate(&error)
            }
            RvClass::Exhausted => translate(&error),
            RvClass::Pin | RvClass::Refused | RvClass::Padding => fault(&error),
            RvClass::Session | RvClass::Handle | RvClass::Login | RvClass::Other => {
                if self.counters.failed_repeatedly() {
                    self.mark_down("the token failed repeatedly");
                }
                fault(&error)
            }
        }
    }

    /// Reads and probes all configured keys.
    pub(super) fn load_all(&self, needed: Needed) -> Result<(), KeystoreError> {
        let log = self.trials.get().map(|log| &**log);
        let mut missing = None;
        for label in self.keys.labels() {
            match self.keys.load_and_probe(label, &self.token, &self.counters, log).map_err(KeystoreError::from) {
                Ok(loaded) => loaded.key.report(self.token.quirk()),
                Err(error @ KeystoreError::KeyNotFound { .. }) if needed == Needed::Any => missing = Some(error),
                Err(error) => return Err(error),
            }
        }
        match missing {
            Some(missing) if self.keys.present().is_empty() => Err(missing),
            _ => Ok(()),
        }
    }

    /// Reads a key and, if necessary, probes it. Returns whether it was probed.
    pub(super) fn load_key(&self, label: &str) -> Result<bool, AttemptError> {
        let log = self.trials.get().map(|log| &**log);
        Ok(self.keys.load_and_probe(label, &self.token, &self.counters, log)?.tried)
    }

    /// As [`SharedState::load_key`], and reports afterwards which keys exist.
    pub(super) fn load_and_report(&self, label: &str) -> Result<(), AttemptError> {
        if self.load_key(label)? {
            self.report_found();
        }
        Ok(())
    }

    pub(super) fn report_found(&self) {
        if let Some(log) = self.trials.get() {
            let keys: Vec<_> = self.keys.present().iter().map(|key| key.description()).collect();
            log.found(&keys, self.counters.uses());
        }
    }
}
