//! A worker thread's place: its session, and the call that it carries out now.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{module::lock, session_slot::SessionSlot};
use crate::operation::Outcome;

/// Which of the pool's queues a worker serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Calls that use keys.
    Keys,
    /// Health checks, which must not wait behind the calls of a busy token.
    Checks,
}

/// A worker's session, and the call that it carries out.
pub(super) struct WorkerSlot {
    pub(super) lane: Lane,
    /// Held while the worker uses the token.
    pub(super) session: Mutex<Option<SessionSlot>>,
    running: Mutex<Option<Running>>,
    abandoned: AtomicBool,
}

struct Running {
    since: Instant,
    /// Absent for a call that no caller waits for.
    reply: Option<oneshot::Sender<Outcome>>,
}

impl WorkerSlot {
    pub(super) fn new(lane: Lane) -> Arc<Self> {
        Arc::new(Self { lane, session: Mutex::default(), running: Mutex::default(), abandoned: AtomicBool::new(false) })
    }

    /// Notes that a call begins.
    pub(super) fn begin(&self, reply: Option<oneshot::Sender<Outcome>>) {
        *lock(&self.running) = Some(Running { since: Instant::now(), reply });
    }

    /// Notes that the call has ended. Returns the waiting caller, unless the call was given up meanwhile.
    pub(super) fn end(&self) -> Option<oneshot::Sender<Outcome>> {
        lock(&self.running).take()?.reply
    }

    /// Returns whether the worker's call was given up: then another worker has its place, and its thread ends.
    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    /// Gives up a call that has lasted for `limit` or longer. Returns the caller to answer; `None` if there is no such call.
    pub(super) fn abandon_after(&self, limit: Duration) -> Option<Option<oneshot::Sender<Outcome>>> {
        let mut running = lock(&self.running);
        if running.as_ref()?.since.elapsed() < limit {
            return None;
        }
        self.abandoned.store(true, Ordering::Release);
        Some(running.take()?.reply)
    }
}
