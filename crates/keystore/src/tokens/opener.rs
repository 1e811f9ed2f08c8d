//! Opens the tokens of a keystore, each on a thread of its own: a token that is away or hangs holds up neither the others nor the
//! start, and is opened when it appears.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread::Builder,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::Member;
use crate::{KeystoreError, pkcs11::Needed};

/// How long the start waits for a token that does not answer, while others do.
const START: Duration = Duration::from_secs(30);
/// Pauses between attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// How long an attempt may last when the keystore is closed.
const LAST_ATTEMPT: Duration = Duration::from_secs(5);

/// The threads that open tokens. They end with the keystore.
pub(crate) struct Opener {
    /// Taken out at the end: the receivers are disconnected.
    running: Mutex<Option<Running>>,
}

struct Running {
    stop: Sender<()>,
    /// Disconnected when all threads have ended.
    ended: Receiver<()>,
}

impl Opener {
    /// Starts a thread for each token, and waits until each has made its first attempt.
    pub(super) fn start(members: &[Arc<Member>]) -> Result<Self, KeystoreError> {
        let (stop, stopped) = bounded(0);
        let (alive, ended) = bounded(0);
        let (attempted, attempts) = bounded(members.len());
        for member in members {
            let (member, stopped, alive, attempted) = (Arc::clone(member), stopped.clone(), alive.clone(), attempted.clone());
            Builder::new()
                .name("hsm-open".to_owned())
                .spawn(move || {
                    let _alive: Sender<()> = alive;
                    open(&member, &attempted, &stopped);
                })
                .map_err(|_| KeystoreError::Unavailable { reason: "no thread could be started" })?;
        }
        let opener = Self { running: Mutex::new(Some(Running { stop, ended })) };
        let until = Instant::now() + START;
        for _ in members {
            if attempts.recv_deadline(until).is_err() {
                break;
            }
        }
        Ok(opener)
    }

    /// Ends the threads. Returns `false` if one is in a call that does not return.
    pub(super) fn stop(&self) -> bool {
        let Some(Running { stop, ended }) = self.running.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return true;
        };
        drop(stop);
        ended.recv_timeout(LAST_ATTEMPT) != Err(RecvTimeoutError::Timeout)
    }
}

fn open(member: &Member, attempted: &Sender<()>, stopped: &Receiver<()>) {
    let (mut pause, mut reported) = (FIRST_PAUSE, None);
    loop {
        let outcome = member.open(Needed::Any);
        // Only the first attempt is waited for.
        let _ = attempted.try_send(());
        match outcome {
            Ok(()) => {
                tracing::info!(token = member.name(), "the token is open");
                return;
            }
            // Each cause once, however long the token is away.
            Err(error) if reported.as_ref() != Some(&error) => {
                tracing::warn!(token = member.name(), %error, "the token cannot be opened; trying again");
                reported = Some(error);
            }
            Err(_) => {}
        }
        if stopped.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
