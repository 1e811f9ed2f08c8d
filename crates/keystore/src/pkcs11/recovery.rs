//! Health checks, and the thread that recovers a lost token.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, select};
use cryptoki::session::Session;

use super::{
    module::lock,
    rv::{RvClass, classify, translate},
    shared_state::{Health, SharedState},
    token::is_logged_in,
};
use crate::KeystoreError;

/// Pauses between attempts to recover the token.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl SharedState {
    /// Checks the token without using a key: the session is alive, the login is valid, one of the keys exists.
    pub(super) fn health_check(&self) -> Result<(), KeystoreError> {
        if let Err(unavailable) = self.ready() {
            self.wake();
            return Err(unavailable);
        }
        for _ in 0..2 {
            // A check that hangs in the token must not make the next ones hang too.
            let Ok(login_session) = self.login_session.try_lock() else {
                return Err(KeystoreError::Unavailable { reason: "an earlier look at the token has not come back" });
            };
            let outcome = match &*login_session {
                Some(session) => self.find_keys(session),
                None => Ok(Presence::LoggedOut),
            };
            if matches!(outcome, Ok(Presence::Key)) {
                // While holding the login session: the recovery thread locks it before it touches the module.
                self.search_missing();
                return Ok(());
            }
            drop(login_session);
            match outcome {
                Ok(Presence::Key) => return Ok(()),
                Ok(Presence::Nothing) => {
                    self.mark_down("the token shows none of the keys");
                    return self.ready();
                }
                Ok(Presence::LoggedOut) => self.log_in_again().map_err(|error| self.conclude(error))?,
                Err(error) => match classify(&error) {
                    RvClass::Login | RvClass::Session => self.log_in_again().map_err(|error| self.conclude(error))?,
                    RvClass::Exhausted => return Err(translate(&error)),
                    _ => {
                        self.mark_down("the token does not answer");
                        return self.ready();
                    }
                },
            }
        }
        Err(KeystoreError::Unavailable { reason: "the login does not hold" })
    }

    /// Checks which of the keys exist: the others are missing from now on, unless all are.
    fn find_keys(&self, session: &Session) -> Result<Presence, cryptoki::error::Error> {
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
    /// session closed afterwards might close another user's new one.
    fn reinitialise(&self) -> Result<(), KeystoreError> {
        let mut slots: Vec<_> = self.slots.iter().map(lock).collect();
        let mut login_session = lock(&self.login_session);
        slots.iter_mut().for_each(|slot| drop(slot.take()));
        drop(login_session.take());
        self.token.find_again()?;
        self.log_in(&mut login_session)?;
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
}

enum Presence {
    Key,
    Nothing,
    LoggedOut,
}
