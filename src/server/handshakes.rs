//! TLS handshakes in progress: limited separately from connections, because any client can begin one.

use std::{collections::VecDeque, future::Future};

use tokio::{runtime::Handle, task::AbortHandle};

/// The handshakes of a listener, oldest first.
pub(super) struct Handshakes {
    most: usize,
    /// Where they run.
    runtime: Handle,
    running: VecDeque<AbortHandle>,
}

impl Handshakes {
    pub(super) fn at_most(most: usize, runtime: Handle) -> Self {
        Self { most, runtime, running: VecDeque::new() }
    }

    /// Runs a handshake in a separate task. Above the limit the oldest handshake is cancelled: an honest one takes milliseconds,
    /// so old ones belong to a client that tries to exclude others. Returns whether one was cancelled.
    pub(super) fn spawn(&mut self, handshake: impl Future<Output = ()> + Send + 'static) -> bool {
        self.running.retain(|running| !running.is_finished());
        let full = self.running.len() >= self.most;
        if full && let Some(oldest) = self.running.pop_front() {
            oldest.abort();
        }
        self.running.push_back(self.runtime.spawn(handshake).abort_handle());
        full
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn the_oldest_makes_room_for_the_newest() {
        let mut handshakes = Handshakes::at_most(2, Handle::current());
        assert!(!handshakes.spawn(pending()) && !handshakes.spawn(pending()) && handshakes.spawn(pending()));
        assert_eq!(handshakes.running.len(), 2);
        let (done, waits) = tokio::sync::oneshot::channel();
        assert!(handshakes.spawn(async { done.send(()).expect("somebody waits") }), "two hang");
        waits.await.expect("the newest is run");
    }
}
