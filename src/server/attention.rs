//! How long the other end of a connection may keep us waiting. One who never asks, or takes nothing of what it asked for, would
//! otherwise hold its connection, the requests on it and their memory for as long as it likes: HTTP/2's own keepalive only
//! finds out whether it is alive.

use std::{
    collections::BTreeMap,
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::config::Limits;

/// How long is too long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Until the first request has come whole.
    silence: Duration,
    /// Until something of what waits for it is sent or taken.
    stall: Duration,
}

impl Patience {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { silence: Duration::from_secs(limits.silence_s), stall: Duration::from_secs(limits.stall_s) }
    }

    /// How often to look: the limits are kept to within a quarter.
    fn pause(&self) -> Duration {
        self.silence.min(self.stall) / 4
    }
}

/// What the requests of a connection know of its other end.
#[derive(Debug, Default)]
pub(super) struct Attention {
    asked: AtomicBool,
    /// Requests and answers that wait for the other end, and since when.
    waiting: Mutex<BTreeMap<u64, Instant>>,
    numbers: AtomicU64,
}

impl Attention {
    /// A request has come.
    pub(super) fn asked(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// A number for a request or an answer.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// It waits for the other end, from now on or already.
    pub(super) fn waits(&self, number: u64) {
        self.waiting().entry(number).or_insert_with(Instant::now);
    }

    /// It does not wait for the other end.
    pub(super) fn moved(&self, number: u64) {
        self.waiting().remove(&number);
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, Instant>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's end, when its other end does not do its part or work must stop.
pub(super) struct Watch {
    attention: Arc<Attention>,
    patience: Patience,
    since: Instant,
    /// Since when the socket takes no bytes.
    blocked: Option<Instant>,
    look: Pin<Box<Sleep>>,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Watch {
    pub(super) fn new(attention: Arc<Attention>, patience: Patience, cancel: CancellationToken) -> Self {
        Self {
            attention,
            patience,
            since: Instant::now(),
            blocked: None,
            look: Box::pin(tokio::time::sleep(patience.pause())),
            cancelled: Box::pin(cancel.cancelled_owned()),
        }
    }

    /// Whether the connection must break now; wakes the task when that may have changed.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.cancelled.as_mut().poll(context).is_ready() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        while self.look.as_mut().poll(context).is_ready() {
            self.judge(Instant::now()).map_err(|what| io::Error::new(io::ErrorKind::TimedOut, what))?;
            self.look.as_mut().reset(tokio::time::Instant::now() + self.patience.pause());
        }
        Ok(())
    }

    /// Takes note of what the socket made of a write.
    pub(super) fn wrote<T>(&mut self, outcome: Poll<T>) -> Poll<T> {
        match outcome {
            Poll::Pending => self.blocked = self.blocked.or_else(|| Some(Instant::now())),
            Poll::Ready(_) => self.blocked = None,
        }
        outcome
    }

    fn judge(&self, now: Instant) -> Result<(), &'static str> {
        let longer = |since: Instant, limit| now.saturating_duration_since(since) >= limit;
        if !self.attention.asked.load(Ordering::Relaxed) && longer(self.since, self.patience.silence) {
            return refuse("it asked for nothing");
        }
        if self.blocked.is_some_and(|since| longer(since, self.patience.stall)) {
            return refuse("it reads nothing");
        }
        if self.attention.waiting().values().any(|since| longer(*since, self.patience.stall)) {
            return refuse("it does not go on with a request or an answer");
        }
        Ok(())
    }
}

fn refuse(why: &'static str) -> Result<(), &'static str> {
    tracing::info!(why, "closed a connection");
    Err(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> Watch {
        let patience = Patience { silence: Duration::from_secs(10), stall: Duration::from_secs(60) };
        Watch::new(Arc::default(), patience, CancellationToken::new())
    }

    #[tokio::test]
    async fn who_asks_for_nothing_is_let_go_and_who_has_asked_may_be_silent() {
        let watch = watch();
        let after = |seconds| watch.judge(watch.since + Duration::from_secs(seconds));
        assert_eq!((after(9), after(10)), (Ok(()), Err("it asked for nothing")));
        watch.attention.asked();
        assert_eq!(after(36_000), Ok(()));
    }

    #[tokio::test]
    async fn who_takes_nothing_is_let_go_and_a_slow_step_is_not_held_against_anybody() {
        let mut watch = watch();
        watch.attention.asked();
        let later = |seconds| Instant::now() + Duration::from_secs(seconds);
        let answer = watch.attention.number();
        watch.attention.waits(answer);
        let given_up = Err("it does not go on with a request or an answer");
        assert_eq!((watch.judge(later(59)), watch.judge(later(61))), (Ok(()), given_up));
        watch.attention.moved(answer);
        assert_eq!(watch.judge(later(36_000)), Ok(()));
        let _ = watch.wrote(Poll::<()>::Pending);
        assert_eq!(watch.judge(later(61)), Err("it reads nothing"));
        let _ = watch.wrote(Poll::Ready(()));
        assert_eq!(watch.judge(later(36_000)), Ok(()));
    }
}
