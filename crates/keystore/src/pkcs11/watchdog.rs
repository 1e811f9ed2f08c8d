//! Replaces workers whose call does not return. A module's call cannot be interrupted: the thread stays in it, another takes its
//! place, and the caller gets its answer.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::{
    shared_state::SharedState,
    threads::Threads,
    worker_slot::{Lane, WorkerSlot},
};
use crate::KeystoreError;

/// Number of calls of one token that may hang at a time. Beyond it no worker is replaced, and the token counts as lost.
pub(super) const HUNG_MAX: usize = 8;

pub(super) const DOES_NOT_RETURN: &str = "a call in its module does not return";

/// Main loop of the thread: ends when the keystore closes, which disconnects `stopped`.
pub(super) fn run(shared: &Arc<SharedState>, threads: &Weak<Threads>, stopped: &Receiver<()>) {
    let tick = (shared.call_timeout / 8).clamp(Duration::from_millis(10), Duration::from_secs(1));
    while stopped.recv_timeout(tick) == Err(RecvTimeoutError::Timeout) {
        shared.abandon_hung_calls();
        let Some(threads) = threads.upgrade() else { return };
        for lane in [Lane::Keys, Lane::Checks] {
            while shared.needs_worker(lane) {
                if let Err(error) = threads.start_worker(shared, lane) {
                    tracing::error!(%error, "a worker of the token cannot be replaced");
                    break;
                }
            }
        }
    }
}

impl SharedState {
    fn abandon_hung_calls(&self) {
        for worker in self.workers() {
            let Some(caller) = worker.abandon_after(self.call_timeout) else { continue };
            self.remove(&worker);
            let hung = self.hung.fetch_add(1, Ordering::AcqRel) + 1;
            tracing::error!(hung, seconds = self.call_timeout.as_secs(), "{DOES_NOT_RETURN}: another worker takes its place");
            if let Some(caller) = caller {
                // The caller may have left.
                let _ = caller.send(Err(KeystoreError::Unavailable { reason: DOES_NOT_RETURN }));
            }
            if hung >= HUNG_MAX {
                self.mark_down(DOES_NOT_RETURN);
            }
        }
    }

    /// Returns whether a lane has too few workers, and may have another one.
    fn needs_worker(&self, lane: Lane) -> bool {
        let wanted = match lane {
            Lane::Keys => self.sessions,
            Lane::Checks => 1,
        };
        let present = self.workers().iter().filter(|worker| worker.lane == lane).count();
        present < wanted && self.hung.load(Ordering::Acquire) < HUNG_MAX
    }

    /// Notes that the call of an abandoned worker has returned after all.
    pub(super) fn returned(&self, worker: &WorkerSlot) {
        debug_assert!(worker.is_abandoned());
        let hung = self.hung.fetch_sub(1, Ordering::AcqRel) - 1;
        tracing::warn!(hung, "a call in the module returned after it had been given up");
    }
}
