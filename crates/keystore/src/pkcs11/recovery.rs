//! Health checks, and the thread that recovers a lost token.

use std::{
    sync::{Arc, MutexGuard, TryLockError, atomic::Ordering},
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, select};
use cryptoki::{
    context::Function,
    error::{Error, RvError},
    session::Session,
};

use super::{
    attempt_error::AttemptError,
    module::lock,
    rv::translate,
    session_slot::SessionSlot,
    shared_state::{Health, SharedState},
    token::is_logged_in,
    watchdog::{DOES_NOT_RETURN, HUNG_MAX},
    worker_slot::WorkerSlot,
};
use crate::KeystoreError;

/// Pauses between attempts to recover the token.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Why a token may stay away although it is back: finalising its module during a call would crash it.
const CANNOT_BE_SET_UP: &str = "a call in its module does not return, so the module cannot be set up anew in this process; \
                                `isolation = \"process\"` in [token] would replace the process";
/// The same for a token whose module serves another token: finalising it would end the sessions of that one.
const MODULE_IS_SHARED: &str = "another token of its module is in use, so the module cannot be set up anew in this process; \
                                `isolation = \"process\"` in [[token]] gives each token a module of its own";
/// Pause between looks whether a worker's call has ended.
const POLL: Duration = Duration::from_millis(10);

impl SharedState {
    /// Checks the token without using a key: the session is alive, the login is valid, one of the keys exists. Also searches for
    /// missing keys.
    pub(super) fn look_at(&self, session: &Session) -> Result<(), AttemptError> {
        match self.find_keys(session)? {
            Presence::Key => {
                self.hold_login()?;
                self.search_missing();
                Ok(())
            }
            Presence::Nothing => {
                self.mark_down("the token shows none of the keys");
                self.ready().map_err(AttemptError::Decided)
            }
            Presence::LoggedOut => Err(Error::Pkcs11(RvError::UserNotLoggedIn, Function::GetSessionInfo).into()),
        }
    }

    /// As [`SharedState::look_at`], in the session that holds the login, when the token has no other.
    pub(super) fn look_through_login_session(&self, exhausted: &Error) -> Result<(), AttemptError> {
        match &*lock(&self.login_session) {
            Some(session) if matches!(self.find_keys(session)?, Presence::Key) => Ok(()),
            _ => Err(AttemptError::Decided(translate(exhausted))),
        }
    }

    /// Checks which of the keys exist: the others are missing from now on, unless all are.
    fn find_keys(&self, session: &Session) -> Result<Presence, Error> {
        if !is_logged_in(session)? {
            return Ok(Presence::LoggedOut);
        }
        // Without configured keys, a session is all that can be checked.
        let (mut any, mut missing) = (self.keys.labels().next().is_none(), Vec::new());
        for key in self.keys.present() {
            match key.find(session)? {
                Some(_) => any = true,
                None => missing.push(key),
            }
        }
        if !any {
            return Ok(Presence::Nothing);
        }
        missing.iter().for_each(|key| self.keys.forget(key));
        Ok(Presence::Key)
    }

    /// Searches for missing keys: a key that was missing for a moment is found without a restart.
    fn search_missing(&self) {
        let found: Vec<_> = self.keys.missing().into_iter().map(|label| self.load_key(&label)).collect();
        if found.iter().any(|loaded| matches!(loaded, Ok(true))) {
            self.report_found();
        }
    }

    /// Main loop of the recovery thread: ends when the keystore closes, which disconnects `stopped`.
    pub(super) fn supervise(&self, woken: &Receiver<()>, stopped: &Receiver<()>) {
        loop {
            select! {
                recv(stopped) -> _ => return,
                recv(woken) -> _ => {}
            }
            let mut pause = FIRST_PAUSE;
            while self.ready().is_err() {
                // A wake-up may arrive in any of these pauses: the shutdown never depends on one.
                if stopped.recv_timeout(FIRST_PAUSE) == Err(RecvTimeoutError::Disconnected) {
                    return;
                }
                match self.reinitialise() {
                    Ok(()) => {
                        tracing::info!("the token is back");
                        *lock(&self.health) = Health::Ready;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the token is still away");
                        if self.hung() > 0 {
                            *lock(&self.health) = Health::Down { reason: CANNOT_BE_SET_UP };
                        } else if self.token.shares_module() {
                            *lock(&self.health) = Health::Down { reason: MODULE_IS_SHARED };
                        }
                        select! {
                            recv(stopped) -> _ => return,
                            recv(woken) -> _ => {}
                            default(pause) => {}
                        }
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                }
            }
        }
    }

    /// Sets up everything anew, with no call running: finalising during a running call crashes token libraries, and a stale
    /// session closed afterwards might close another user's new one. While a call hangs, the module is not finalised.
    fn reinitialise(&self) -> Result<(), KeystoreError> {
        let workers = self.workers();
        let mut sessions = self.all_sessions(&workers)?;
        if self.hung() >= HUNG_MAX {
            return Err(KeystoreError::Unavailable { reason: DOES_NOT_RETURN });
        }
        let mut login_session = lock(&self.login_session);
        sessions.iter_mut().for_each(|slot| drop(slot.take()));
        drop(login_session.take());
        let found = self.find_everything(&mut login_session);
        if found.is_err() {
            drop(login_session.take());
            // A hung call is in the module, which no other token of it may finalise meanwhile.
            if self.hung() == 0 {
                self.token.quiet();
            }
        }
        found
    }

    fn find_everything(&self, login_session: &mut Option<Session>) -> Result<(), KeystoreError> {
        self.token.find_again(self.hung() == 0)?;
        self.log_in(login_session)?;
        let session = login_session.as_ref().ok_or(KeystoreError::Unavailable { reason: "no session" })?;
        let mut usable = self.keys.labels().next().is_none();
        for key in self.keys.present() {
            match key.find(session).map_err(|error| translate(&error))? {
                Some(_) => usable = true,
                None => self.keys.forget(&key),
            }
        }
        // Keys that were missing, or were replaced while the token was away.
        for label in self.keys.missing() {
            usable |= self.load_key(&label).is_ok();
        }
        if !usable {
            return Err(KeystoreError::Unavailable { reason: "the token shows none of the keys" });
        }
        self.report_found();
        Ok(())
    }

    /// Takes the sessions of all workers. A worker with a running call has its own: waits until the call returns or is given up.
    fn all_sessions<'a>(
        &self,
        workers: &'a [Arc<WorkerSlot>],
    ) -> Result<Vec<MutexGuard<'a, Option<SessionSlot>>>, KeystoreError> {
        let mut sessions = Vec::new();
        for worker in workers {
            loop {
                match worker.session.try_lock() {
                    Ok(session) => sessions.push(session),
                    Err(TryLockError::Poisoned(session)) => sessions.push(session.into_inner()),
                    Err(TryLockError::WouldBlock) if worker.is_abandoned() => {}
                    Err(TryLockError::WouldBlock) => {
                        if self.closing.load(Ordering::Acquire) {
                            return Err(KeystoreError::Unavailable { reason: "the keystore is closing" });
                        }
                        std::thread::sleep(POLL);
                        continue;
                    }
                }
                break;
            }
        }
        Ok(sessions)
    }
}

enum Presence {
    Key,
    Nothing,
    LoggedOut,
}
