//! The login, and getting a lost token back: what the worker threads share, and the thread that looks after it.

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
use crate::keystore::{Health, KeystoreError, TrialLog};

/// Pauses between attempts to get the token back.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What all threads of a keystore share. Sessions stand before the token, so that they are closed before the module goes.
pub(super) struct SharedState {
    /// One session per worker. Each worker holds its own while it works; the keeper takes them all to have the token to itself.
    pub(super) seats: Vec<Mutex<Option<SessionSlot>>>,
    /// The session that holds the login while workers drop theirs.
    pub(super) anchor: Mutex<Option<Session>>,
    pub(super) keys: KeyRing,
    pub(super) counters: Counters,
    pub(super) health: Mutex<Health>,
    pub(super) closing: AtomicBool,
    /// Wakes the keeper.
    pub(super) wake: Sender<()>,
    /// Told of trials after the start.
    pub(super) trials: OnceLock<Arc<dyn TrialLog>>,
    pub(super) token: Token,
}

impl SharedState {
    /// Whether calls may go to the token.
    pub(super) fn ready(&self) -> Result<(), KeystoreError> {
        if self.closing.load(Ordering::Acquire) {
            return Err(KeystoreError::Unavailable { reason: "the keystore is closing" });
        }
        match &*lock(&self.health) {
            Health::Ready => Ok(()),
            Health::Down { reason, .. } => Err(KeystoreError::Unavailable { reason }),
        }
    }

    /// The token is gone: callers are told so from now on, and the keeper starts.
    pub(super) fn mark_down(&self, reason: &'static str) {
        let mut health = lock(&self.health);
        if *health == Health::Ready {
            tracing::error!(reason, "the token is lost; trying to get it back");
            *health = Health::Down { since: Instant::now(), reason };
        }
        drop(health);
        self.wake();
    }

    /// Lets the keeper try now. A full channel means that it is about to.
    pub(super) fn wake(&self) {
        let _ = self.wake.try_send(());
    }

    /// One login for all who find that it is gone.
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

    /// A look at the token that uses no key: the session lives, the login holds, one of the keys is there.
    pub(super) fn health_check(&self) -> Result<(), KeystoreError> {
        if let Err(away) = self.ready() {
            self.wake();
            return Err(away);
        }
        for _ in 0..2 {
            // A look that hangs in the token must not make the next ones hang too.
            let Ok(anchor) = self.anchor.try_lock() else {
                return Err(KeystoreError::Unavailable { reason: "an earlier look at the token has not come back" });
            };
            let seen = match &*anchor {
                Some(session) => self.see_keys(session),
                None => Ok(Presence::LoggedOut),
            };
            if matches!(seen, Ok(Presence::Key)) {
                // With the anchor held: the keeper takes it before it touches the module.
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

    /// Which of the keys are there: those that are not are missing from now on, unless none is.
    fn see_keys(&self, session: &Session) -> Result<Presence, cryptoki::error::Error> {
        if !is_logged_in(session)? {
            return Ok(Presence::LoggedOut);
        }
        // Nothing was ever asked for: then a session is all there is to see.
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

    /// Looks for keys that the token did not show before: one that was away for a moment is found without a restart.
    fn look_for_missing(&self) {
        let found: Vec<_> = self.keys.missing(None).into_iter().map(|label| self.learn(&label)).collect();
        if found.iter().any(|learnt| matches!(learnt, Ok(true))) {
            self.tell_found();
        }
    }

    /// Reads and, where it must be, tries a key. Answers whether it was tried.
    fn learn(&self, label: &str) -> Result<bool, KeystoreError> {
        let log = self.trials.get().map(|log| &**log);
        Ok(self.keys.load_and_probe(label, &self.token, &self.counters, log)?.tried)
    }

    /// As [`Shared::learn`], and tells what is there afterwards.
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

    /// The life of the keeper thread: ends when the keystore closes, which `ended` tells by being disconnected.
    pub(super) fn supervise(&self, woken: &Receiver<()>, ended: &Receiver<()>) {
        loop {
            select! {
                recv(ended) -> _ => return,
                recv(woken) -> _ => {}
            }
            let mut pause = FIRST_PAUSE;
            while self.ready().is_err() {
                // A wake-up may come in any of these pauses: the end never depends on one.
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

    /// Sets up everything anew, with no call running: finalising under a running call crashes token libraries, and a stale
    /// session closed afterwards might close somebody's new one.
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
        // Keys that had gone, or were replaced while the token was away.
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
