//! Rate limit for log lines that a peer could cause at will.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Logs a message at most once a second, with the number of occurrences: a flood must not fill the log's disk.
#[derive(Default)]
pub(super) struct LogThrottle(Mutex<(u64, Option<Instant>)>);

impl LogThrottle {
    pub(super) const fn new() -> Self {
        Self(Mutex::new((0, None)))
    }

    pub(super) fn log(&self, line: impl FnOnce(u64)) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 += 1;
        if state.1.is_none_or(|last| last.elapsed() >= Duration::from_secs(1)) {
            line(state.0);
            *state = (0, Some(Instant::now()));
        }
    }
}
