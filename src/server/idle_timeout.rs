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
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::log_throttle::LogThrottle;
use crate::config::Limits;

/// How long is too long.
#[derive(Debug, Clone, Copy)]
pub(super) struct IdleTimeouts {
    /// Until the first request has come whole.
    silence: Duration,
    /// Until something of what waits for it is sent or taken.
    stall: Duration,
}

impl IdleTimeouts {
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
pub(super) struct ConnectionActivity {
    use_of: Mutex<Use>,
    /// Requests and answers that wait for the other end, and since when.
    waiting: Mutex<BTreeMap<u64, Instant>>,
    numbers: AtomicU64,
}

/// What a connection is used for. A call that was let in is a use; health, reflection and what is refused at the door are none.
#[derive(Debug, Default)]
struct Use {
    /// Calls under way.
    calls: usize,
    last: Option<Instant>,
    /// When something was asked that is no use: that it is alive is known, and nothing more.
    asked: Option<Instant>,
}

impl ConnectionActivity {
    /// A request has come that is no use of the connection by itself.
    pub(super) fn request_started(&self) {
        self.used().asked = Some(Instant::now());
    }

    /// A call has been let in. It is under way until what this answers is dropped.
    pub(super) fn use_it(self: &Arc<Self>) -> InUse {
        let mut used = self.used();
        used.calls += 1;
        used.last = Some(Instant::now());
        InUse(Arc::clone(self))
    }

    /// Whether no call is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.used().calls == 0
    }

    /// When a call last began or ended, if one ever did.
    pub(super) fn last_useful(&self) -> Option<Instant> {
        self.used().last
    }

    fn used(&self) -> MutexGuard<'_, Use> {
        self.use_of.lock().unwrap_or_else(PoisonError::into_inner)
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

/// A call under way on a connection.
#[derive(Debug)]
pub(super) struct InUse(Arc<ConnectionActivity>);

impl Drop for InUse {
    fn drop(&mut self) {
        let mut used = self.0.used();
        used.calls -= 1;
        used.last = Some(Instant::now());
    }
}

/// A connection's end, when its other end does not do its part or work must stop.
pub(super) struct IdleWatch {
    attention: Arc<ConnectionActivity>,
    patience: IdleTimeouts,
    since: Instant,
    /// Since when the socket takes no bytes.
    blocked: Option<Instant>,
    look: Pin<Box<Sleep>>,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl IdleWatch {
    pub(super) fn new(attention: Arc<ConnectionActivity>, patience: IdleTimeouts, cancel: CancellationToken) -> Self {
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
            self.check(Instant::now()).map_err(|what| io::Error::new(io::ErrorKind::TimedOut, what))?;
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

    fn check(&self, now: Instant) -> Result<(), &'static str> {
        let longer = |since: Instant, limit| now.saturating_duration_since(since) >= limit;
        {
            let used = self.attention.used();
            // Each question to health buys as much time as a new connection has, and no more.
            if used.last.is_none() && longer(used.asked.unwrap_or(self.since), self.patience.silence) {
                return refuse("it asked for nothing");
            }
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
    static CLOSED: LogThrottle = LogThrottle::new();
    CLOSED.say(|times| tracing::info!(why, times, "closed a connection"));
    Err(why)
}

#[cfg(test)]
mod tests {
    use crate::server::idle_timeout::*;

    fn watch() -> IdleWatch {
        let patience = IdleTimeouts { silence: Duration::from_secs(10), stall: Duration::from_secs(60) };
        IdleWatch::new(Arc::default(), patience, CancellationToken::new())
    }

    #[tokio::test]
    async fn who_asks_for_nothing_is_let_go_and_who_had_a_call_let_in_may_be_silent() {
        let watch = watch();
        let after = |seconds| watch.check(watch.since + Duration::from_secs(seconds));
        let silent = Err("it asked for nothing");
        assert_eq!((after(9), after(10)), (Ok(()), silent));
        watch.attention.used().asked = Some(watch.since + Duration::from_secs(8));
        assert_eq!((after(17), after(18)), (Ok(()), silent), "health is no call");
        drop(watch.attention.use_it());
        assert_eq!(after(36_000), Ok(()));
    }

    #[tokio::test]
    async fn who_takes_nothing_is_let_go_and_a_slow_step_is_not_held_against_anybody() {
        let mut watch = watch();
        drop(watch.attention.use_it());
        let later = |seconds| Instant::now() + Duration::from_secs(seconds);
        let answer = watch.attention.number();
        watch.attention.waits(answer);
        let given_up = Err("it does not go on with a request or an answer");
        assert_eq!((watch.check(later(59)), watch.check(later(61))), (Ok(()), given_up));
        watch.attention.moved(answer);
        assert_eq!(watch.check(later(36_000)), Ok(()));
        let _ = watch.wrote(Poll::<()>::Pending);
        assert_eq!(watch.check(later(61)), Err("it reads nothing"));
        let _ = watch.wrote(Poll::Ready(()));
        assert_eq!(watch.check(later(36_000)), Ok(()));
    }
}
