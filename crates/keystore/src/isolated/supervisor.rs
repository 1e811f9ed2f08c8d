//! Keeps a token's process running: receives its answers, and starts another one when it ends.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use super::{
    pauses::Pauses,
    process::WorkerProcess,
    shared::{ENDED, Link, Shared, lock},
    socket::Socket,
    wire::{Numbered, Request, Response, Seen, Settings},
};
use crate::{Isolation, KeyUses, KeystoreConfig, KeystoreError, identities::Identities, pkcs11::Needed, trial_log::Trials};

pub(crate) const DOES_NOT_OPEN: &str = "its module does not return from opening it";

/// The longest part of a pause for which the keystore's end is not noticed.
const LOOK: Duration = Duration::from_millis(100);

impl Shared {
    /// Receives answers until the process ends, then starts another one: at once if that was ready for long, else after a pause.
    pub(super) fn supervise(&self, mut socket: Socket) {
        let (mut pauses, mut ready_since) = (Pauses::new(), Instant::now());
        loop {
            self.receive(&socket);
            let mut uses = lock(&self.before);
            {
                let mut seen = lock(&self.seen);
                uses.signatures += seen.uses.signatures;
                uses.decryptions += seen.uses.decryptions;
                (seen.uses, seen.hung, seen.ready) = (KeyUses::default(), 0, Err(ENDED));
            }
            drop(uses);
            drop(lock(&self.link).take());
            // Disconnects the callers, who get an error.
            lock(&self.calls).clear();
            let mut life = ready_since.elapsed();
            loop {
                if !self.rests(pauses.after(life)) {
                    return;
                }
                match start(&self.config, &self.isolation, self.needed, &self.trials, &self.identities) {
                    Ok((link, seen)) => {
                        tracing::warn!(process = link.process.id(), "the token's process was started again");
                        socket = link.socket.clone();
                        let mut place = lock(&self.link);
                        // Set before `close` takes the link: a process that is started now would outlive the keystore.
                        if self.closing.load(Ordering::Acquire) {
                            return;
                        }
                        *lock(&self.seen) = seen;
                        *lock(&self.last_answer) = Instant::now();
                        *place = Some(link);
                        ready_since = Instant::now();
                        break;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the token's process cannot be started");
                        life = Duration::ZERO;
                    }
                }
            }
        }
    }

    /// Waits. Returns `false` when the keystore closes.
    fn rests(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        loop {
            if self.closing.load(Ordering::Acquire) {
                return false;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(LOOK));
        }
    }

    fn receive(&self, socket: &Socket) {
        loop {
            let Numbered { number, body } = match socket.receive() {
                Ok(Some(message)) => message,
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(%error, "the token's process sent what is no message");
                    return;
                }
            };
            *lock(&self.last_answer) = Instant::now();
            match body {
                Response::AboutToTry { .. } | Response::Found { .. } => report_trial(&self.trials, socket, number, body),
                answer => {
                    if let Some(caller) = lock(&self.calls).remove(&number) {
                        // The caller may have left.
                        let _ = caller.send(answer);
                    }
                }
            }
        }
    }
}

/// Starts a process and has it open the token.
pub(super) fn start(
    config: &KeystoreConfig,
    isolation: &Isolation,
    needed: Needed,
    trials: &Trials,
    identities: &Identities,
) -> Result<(Link, Seen), KeystoreError> {
    let (process, socket) = WorkerProcess::start(isolation).map_err(|error| {
        tracing::error!(%error, program = %isolation.program.display(), "the token's process cannot be started");
        KeystoreError::Unavailable { reason: "the token's process cannot be started" }
    })?;
    let settings = Settings::new(config, isolation.writable(&config.access), needed, trials.get().is_some(), identities.all());
    let opening = Numbered { number: 0, body: Request::Open(Box::new(settings)) };
    socket.send(&opening).map_err(|_| ENDED)?;
    socket.give_up_receiving_after(Some(config.open_timeout)).map_err(|_| ENDED)?;
    loop {
        match socket.receive() {
            Ok(Some(Numbered { body: Response::Done(seen), .. })) => {
                socket.give_up_receiving_after(None).map_err(|_| ENDED)?;
                return Ok((Link { socket, process }, *seen));
            }
            Ok(Some(Numbered { body: Response::NotOpened(error), .. })) => return Err(error),
            Ok(Some(Numbered { number, body: body @ (Response::AboutToTry { .. } | Response::Found { .. }) })) => {
                report_trial(trials, &socket, number, body);
            }
            Ok(_) => return Err(KeystoreError::Unavailable { reason: "its module ended the process that opened it" }),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                return Err(KeystoreError::Unavailable { reason: DOES_NOT_OPEN });
            }
            Err(error) => {
                tracing::error!(%error, "the token's process sent what is no message");
                return Err(ENDED);
            }
        }
    }
}

fn report_trial(trials: &Trials, socket: &Socket, number: u64, report: Response) {
    let log = trials.get();
    match report {
        Response::AboutToTry { key, most } => {
            let answer = log.map_or(Ok(()), |log| log.about_to_try(&key, most));
            let _ = socket.send(&Numbered { number, body: Request::Trial(answer) });
        }
        Response::Found { keys, uses } => {
            if let Some(log) = log {
                log.found(&keys, uses);
            }
        }
        _ => {}
    }
}
