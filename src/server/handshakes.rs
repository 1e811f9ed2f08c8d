//! TLS handshakes under way: bounded apart from connections, because anybody can begin one.

use std::{collections::VecDeque, future::Future};

use tokio::task::AbortHandle;

/// The handshakes of a listener, the oldest first.
pub(super) struct Handshakes {
    most: usize,
    running: VecDeque<AbortHandle>,
}

impl Handshakes {
    pub(super) fn at_most(most: usize) -> Self {
        Self { most, running: VecDeque::new() }
    }

    /// Runs a handshake in a task of its own. With too many under way the oldest is given up: an honest one takes
    /// milliseconds, so those that get old are those of somebody who means to keep others out. Answers whether one was.
    pub(super) fn begin(&mut self, handshake: impl Future<Output = ()> + Send + 'static) -> bool {
        self.running.retain(|running| !running.is_finished());
        let full = self.running.len() >= self.most;
        if full && let Some(oldest) = self.running.pop_front() {
            oldest.abort();
        }
        self.running.push_back(tokio::spawn(handshake).abort_handle());
        full
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn the_oldest_makes_room_for_the_newest() {
        let mut handshakes = Handshakes::at_most(2);
        assert!(!handshakes.begin(pending()) && !handshakes.begin(pending()) && handshakes.begin(pending()));
        assert_eq!(handshakes.running.len(), 2);
        let (done, waits) = tokio::sync::oneshot::channel();
        assert!(handshakes.begin(async { done.send(()).expect("somebody waits") }), "two hang");
        waits.await.expect("the newest is run");
    }
}
