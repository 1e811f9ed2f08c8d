//! Login and recovery of a lost token: the state that the worker threads share, and the recovery thread.

use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, select};
use cryptoki::session::Session;

use super::{
    counters::Counters,
    keyring::KeyRing,
    module::lock,
    rv::{RvClass, classify, handle_is_stale, translate},
    token::{Token, is_logged_in},
    worker::SessionSlot,
};
use crate::{Health, KeystoreError, TrialLog};

/// Pauses between attempts to recover the token.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// State shared by all threads of a keystore. Sessions are declared before the token, so that they are closed before the module.
pub(super) struct SharedState {
    /// One session per worker, which holds its own while it works; the recovery thread takes all of them for exclusive use of the token.
    pub(super) seats: Vec<Mutex<Option<SessionSlot>>>,
    /// The session that holds the login while workers drop theirs.
    pub(super) anchor: Mutex<Option<Session>>,
    pub(super) keys: KeyRing,
    pub(super) counters: Counters,
    pub(super) health: Mutex<Health>,
    pub(super) closing: AtomicBool,
    /// Wakes the recovery thread.
    pub(super) wake: Sender<()>,
    /// Receives reports of trials after the start.
    pub(super) trials: OnceLock<Arc<dyn TrialLog>>,
    pub(super) token: Token,
}

impl SharedState {
    /// Checks that calls may go to the token.
    pub(super) fn ready(&self) -> Result<(), KeystoreError> {
        if self.closing.load(Ordering::Acquire) {
            return Err(KeystoreError::Unavailable { reason: "the keystore is closing" });
        }
        match &*lock(&self.health) {
            Health::Ready => Ok(()),
            Health::Down { reason, .. } => Err(KeystoreError::Unavailable { reason }),
        }
    }

    /// Marks the token as lost: callers get an error from now on, and the recovery thread starts its attempts.
    pub(super) fn mark_down(&self, reason: &'static str) {
        let mut health = lock(&self.health);
        if *health == Health::Ready {
            tracing::error!(reason, "the token is lost; trying to get it back");
            *health = Health::Down { since: Instant::now(), reason };
        }
        drop(health);
        self.wake();
    }

    /// Triggers an attempt of the recovery thread now. A full channel means that one is pending.
    pub(super) fn wake(&self) {
        let _ = self.wake.try_send(());
    }

    /// Logs in again, once for all threads that notice the lost login.
    pub(super) fn log_in_again(&self) -> Result<(), KeystoreError> {
        let mut anchor = lock(&self.anchor);
        if let Some(session) = &*anchor {
            match is_logged_in(session) {
                Ok(true) => return Ok(()),
                Ok(false) => return self.token.login(session),
                Err(error) => {
                    let session = anchor.take();
                    if handle_is_stale(&error) {
                        std::mem::forget(session);
                    }
                }
            }
        }
        self.log_in(&mut anchor)
    }

    pub(super) fn log_in(&self, anchor: &mut Option<Session>) -> Result<(), KeystoreError> {
        let session = self.token.session().map_err(|error| translate(&error))?;
        self.token.login(&session)?;
        *anchor = Some(session);
        Ok(())
    }

    /// Checks the token without using a key: the session is alive, the login is valid, one of the keys exists.
    pub(super) fn health_check(&self) -> Result<(), KeystoreError> {
        if let Err(away) = self.ready() {
            self.wake();
            return Err(away);
        }
        for _ in 0..2 {
            // A check that hangs in the token must not make the next ones hang too.
            let Ok(anchor) = self.anchor.try_lock() else {
                return Err(KeystoreError::Unavailable { reason: "an earlier look at the token has not come back" });
            };
            let seen = match &*anchor {
                Some(session) => self.see_keys(session),
                None => Ok(Presence::LoggedOut),
            };
            if matches!(seen, Ok(Presence::Key)) {
                // While holding the anchor: the recovery thread takes it before it touches the module.
                self.look_for_missing();
                return Ok(());
            }
            drop(anchor);
            match seen {
                Ok(Presence::Key) => return Ok(()),
                Ok(Presence::Nothing) => {
                    self.mark_down("the token shows none of the keys");
                    return self.ready();
                }
                Ok(Presence::LoggedOut) => self.log_in_again()?,
                Err(error) => match classify(&error) {
                    RvClass::Login | RvClass::Session => self.log_in_again()?,
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
    fn see_keys(&self, session: &Session) -> Result<Presence, cryptoki::error::Error> {
        if !is_logged_in(session)? {
            return Ok(Presence::LoggedOut);
        }
        // Without configured keys, a session is all that can be checked.
        let (mut any, mut gone) = (self.keys.labels().next().is_none(), Vec::new());
        for key in self.keys.present() {
            match key.find(session)? {
                Some(_) => any = true,
                None => gone.push(key),
            }
        }
        if !any {
            return Ok(Presence::Nothing);
        }
        gone.iter().for_each(|key| self.keys.forget(key));
        Ok(Presence::Key)
    }

    /// Searches for missing keys: a key that was away for a moment is found without a restart.
    fn look_for_missing(&self) {
        let found: Vec<_> = self.keys.missing(None).into_iter().map(|label| self.learn(&label)).collect();
        if found.iter().any(|learnt| matches!(learnt, Ok(true))) {
            self.tell_found();
        }
    }

    /// Reads a key and, if necessary, probes it. Returns whether it was probed.
    fn learn(&self, label: &str) -> Result<bool, KeystoreError> {
        let log = self.trials.get().map(|log| &**log);
        Ok(self.keys.load_and_probe(label, &self.token, &self.counters, log)?.tried)
    }

    /// As [`SharedState::learn`], and reports afterwards which keys exist.
    pub(super) fn learn_and_tell(&self, label: &str) -> Result<(), KeystoreError> {
        if self.learn(label)? {
            self.tell_found();
        }
        Ok(())
    }

    fn tell_found(&self) {
        if let Some(log) = self.trials.get() {
            let keys: Vec<_> = self.keys.present().iter().map(|key| key.info()).collect();
            log.found(&keys, self.counters.uses());
        }
    }

    /// Main loop of the recovery thread: ends when the keystore closes, which disconnects `ended`.
    pub(super) fn supervise(&self, woken: &Receiver<()>, ended: &Receiver<()>) {
        loop {
            select! {
                recv(ended) -> _ => return,
                recv(woken) -> _ => {}
            }
            let mut pause = FIRST_PAUSE;
            while self.ready().is_err() {
                // A wake-up may arrive in any of these pauses: the shutdown never depends on one.
                if ended.recv_timeout(FIRST_PAUSE) == Err(RecvTimeoutError::Disconnected) {
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
                            recv(ended) -> _ => return,
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
        let mut seats: Vec<_> = self.seats.iter().map(lock).collect();
        let mut anchor = lock(&self.anchor);
        seats.iter_mut().for_each(|seat| drop(seat.take()));
        drop(anchor.take());
        self.token.find_again()?;
        self.log_in(&mut anchor)?;
        let session = anchor.as_ref().ok_or(KeystoreError::Unavailable { reason: "no session" })?;
        let mut usable = self.keys.labels().next().is_none();
        for key in self.keys.present() {
            match key.find(session).map_err(|error| translate(&error))? {
                Some(_) => usable = true,
                None => self.keys.forget(&key),
            }
        }
        // Keys that were missing, or were replaced while the token was away.
        for label in self.keys.missing(None) {
            usable |= self.learn(&label).is_ok();
        }
        if !usable {
            return Err(KeystoreError::Unavailable { reason: "the token shows none of the keys" });
        }
        self.tell_found();
        Ok(())
    }
}

enum Presence {
    Key,
    Nothing,
    LoggedOut,
}
