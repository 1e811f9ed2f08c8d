//! The threads of a pool: started as needed, and waited for at the end.

use std::{
    sync::{Arc, Mutex},
    thread::{Builder, JoinHandle},
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::{
    fair_queue::FairQueue,
    module::lock,
    shared_state::SharedState,
    worker::{self, Job},
    worker_slot::{Lane, WorkerSlot},
};
use crate::KeystoreError;

/// The threads of a pool, and the queues that they serve.
pub(super) struct Threads {
    /// Calls that use keys.
    pub(super) keys: Arc<FairQueue<Job>>,
    /// Health checks.
    pub(super) checks: Arc<FairQueue<Job>>,
    started: Mutex<Vec<JoinHandle<()>>>,
    /// Each thread holds a clone of the sender: when the last thread has ended, the receiver is disconnected.
    alive: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

impl Threads {
    /// Number of health checks that may wait.
    const CHECKS: usize = 16;

    pub(super) fn new(queue: usize) -> Arc<Self> {
        Arc::new(Self {
            keys: Arc::new(FairQueue::new(queue)),
            checks: Arc::new(FairQueue::new(Self::CHECKS)),
            started: Mutex::default(),
            alive: Mutex::new(Some(bounded(0))),
        })
    }

    pub(super) fn start_worker(&self, shared: &Arc<SharedState>, lane: Lane) -> Result<(), KeystoreError> {
        let (name, queue) = match lane {
            Lane::Keys => ("hsm-worker", &self.keys),
            Lane::Checks => ("hsm-check", &self.checks),
        };
        let (state, jobs, slot) = (Arc::clone(shared), Arc::clone(queue), WorkerSlot::new(lane));
        let of_thread = Arc::clone(&slot);
        self.start(name, move || worker::run(&state, &of_thread, &jobs))?;
        shared.add(slot);
        Ok(())
    }

    /// Starts a thread, unless the pool is closing.
    pub(super) fn start(&self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), KeystoreError> {
        let Some(alive) = lock(&self.alive).as_ref().map(|(alive, _)| alive.clone()) else {
            return Err(KeystoreError::Unavailable { reason: "the keystore is closing" });
        };
        let thread = Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _alive = alive;
                body();
            })
            .map_err(|_| KeystoreError::Unavailable { reason: "no thread could be started" })?;
        lock(&self.started).push(thread);
        Ok(())
    }

    /// Closes the queues and waits until all threads have ended. Returns `false` if a thread still runs after `patience`.
    pub(super) fn end(&self, patience: Duration) -> bool {
        self.keys.close();
        self.checks.close();
        if let Some((alive, all_ended)) = lock(&self.alive).take() {
            drop(alive);
            // Nothing is ever sent: the channel is disconnected when all threads have ended.
            if all_ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                return false;
            }
        }
        for thread in std::mem::take(&mut *lock(&self.started)) {
            // A panic was handled where it happened.
            let _ = thread.join();
        }
        true
    }
}
