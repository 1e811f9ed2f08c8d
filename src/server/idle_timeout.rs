//! Idle timeouts of a connection. A peer that never sends a request, or never reads the response, would otherwise hold its
//! connection, the requests on it and their memory indefinitely: HTTP/2's own keepalive only detects whether the peer is alive.

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

/// The timeouts.
#[derive(Debug, Clone, Copy)]
pub(super) struct IdleTimeouts {
    /// Time until the first request must be complete.
    silence: Duration,
    /// Time until a waiting request or response must make progress.
    stall: Duration,
}

impl IdleTimeouts {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { silence: Duration::from_secs(limits.silence_s), stall: Duration::from_secs(limits.stall_s) }
    }

    /// Returns the interval of the checks: the limits are exceeded by a quarter at most.
    fn pause(&self) -> Duration {
        self.silence.min(self.stall) / 4
    }
}

/// Activity of a connection, as reported by its requests.
#[derive(Debug, Default)]
pub(super) struct ConnectionActivity {
    use_of: Mutex<Use>,
    /// Requests and responses that wait for the peer, and since when.
    waiting: Mutex<BTreeMap<u64, Instant>>,
    numbers: AtomicU64,
}

/// The use of a connection. An admitted call is a use; health, reflection and refused requests are not.
#[derive(Debug, Default)]
struct Use {
    /// Number of calls in progress.
    calls: usize,
    last: Option<Instant>,
    /// Time of the last request that is no use: it shows that the peer is alive, and nothing more.
    asked: Option<Instant>,
}

impl ConnectionActivity {
    /// Notes a request that is no use of the connection by itself.
    pub(super) fn request_started(&self) {
        self.used().asked = Some(Instant::now());
    }

    /// Notes an admitted call. It is in progress until the returned value is dropped.
    pub(super) fn use_it(self: &Arc<Self>) -> InUse {
        let mut used = self.used();
        used.calls += 1;
        used.last = Some(Instant::now());
        InUse(Arc::clone(self))
    }

    /// Whether no call is in progress.
    pub(super) fn is_idle(&self) -> bool {
        self.used().calls == 0
    }

    /// Returns when a call last began or ended, if there was one.
    pub(super) fn last_useful(&self) -> Option<Instant> {
        self.used().last
    }

    fn used(&self) -> MutexGuard<'_, Use> {
        self.use_of.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a number for a request or a response.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes that a request or response waits for the peer. The time counts from the first such note.
    pub(super) fn waits(&self, number: u64) {
        self.waiting().entry(number).or_insert_with(Instant::now);
    }

    /// Notes that a request or response no longer waits for the peer.
    pub(super) fn moved(&self, number: u64) {
        self.waiting().remove(&number);
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, Instant>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call in progress on a connection.
#[derive(Debug)]
pub(super) struct InUse(Arc<ConnectionActivity>);

impl Drop for InUse {
    fn drop(&mut self) {
        let mut used = self.0.used();
        used.calls -= 1;
        used.last = Some(Instant::now());
    }
}

/// Ends a connection when its peer exceeds a timeout or work must stop.
pub(super) struct IdleWatch {
    activity: Arc<ConnectionActivity>,
    timeout: IdleTimeouts,
    since: Instant,
    /// Since when the socket accepts no bytes.
    blocked: Option<Instant>,
    look: Pin<Box<Sleep>>,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl IdleWatch {
    pub(super) fn new(activity: Arc<ConnectionActivity>, timeout: IdleTimeouts, cancel: CancellationToken) -> Self {
        Self {
            activity,
            timeout,
            since: Instant::now(),
            blocked: None,
            look: Box::pin(tokio::time::sleep(timeout.pause())),
            cancelled: Box::pin(cancel.cancelled_owned()),
        }
    }

    /// Fails if the connection must break now; wakes the task when that may have changed.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.cancelled.as_mut().poll(context).is_ready() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        while self.look.as_mut().poll(context).is_ready() {
            self.check(Instant::now()).map_err(|what| io::Error::new(io::ErrorKind::TimedOut, what))?;
            self.look.as_mut().reset(tokio::time::Instant::now() + self.timeout.pause());
        }
        Ok(())
    }

    /// Notes the outcome of a write to the socket.
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
            let used = self.activity.used();
            // Each health request extends the time by as much as a new connection has, and no more.
            if used.last.is_none() && longer(used.asked.unwrap_or(self.since), self.timeout.silence) {
                return refuse("no request was received");
            }
        }
        if self.blocked.is_some_and(|since| longer(since, self.timeout.stall)) {
            return refuse("responses are not read");
        }
        if self.activity.waiting().values().any(|since| longer(*since, self.timeout.stall)) {
            return refuse("a request or response makes no progress");
        }
        Ok(())
    }
}

fn refuse(why: &'static str) -> Result<(), &'static str> {
    static CLOSED: LogThrottle = LogThrottle::new();
    CLOSED.log(|times| tracing::info!(why, times, "closed a connection"));
    Err(why)
}

#[cfg(test)]
mod tests {
    use crate::server::idle_timeout::*;

    fn watch() -> IdleWatch {
        let timeout = IdleTimeouts { silence: Duration::from_secs(10), stall: Duration::from_secs(60) };
        IdleWatch::new(Arc::default(), timeout, CancellationToken::new())
    }

    #[tokio::test]
    async fn who_asks_for_nothing_is_let_go_and_who_had_a_call_let_in_may_be_silent() {
        let watch = watch();
        let after = |seconds| watch.check(watch.since + Duration::from_secs(seconds));
        let silent = Err("no request was received");
        assert_eq!((after(9), after(10)), (Ok(()), silent));
        watch.activity.used().asked = Some(watch.since + Duration::from_secs(8));
        assert_eq!((after(17), after(18)), (Ok(()), silent), "health is no call");
        drop(watch.activity.use_it());
        assert_eq!(after(36_000), Ok(()));
    }

    #[tokio::test]
    async fn who_takes_nothing_is_let_go_and_a_slow_step_is_not_held_against_anybody() {
        let mut watch = watch();
        drop(watch.activity.use_it());
        let later = |seconds| Instant::now() + Duration::from_secs(seconds);
        let answer = watch.activity.number();
        watch.activity.waits(answer);
        let given_up = Err("a request or response makes no progress");
        assert_eq!((watch.check(later(59)), watch.check(later(61))), (Ok(()), given_up));
        watch.activity.moved(answer);
        assert_eq!(watch.check(later(36_000)), Ok(()));
        let _ = watch.wrote(Poll::<()>::Pending);
        assert_eq!(watch.check(later(61)), Err("responses are not read"));
        let _ = watch.wrote(Poll::Ready(()));
        assert_eq!(watch.check(later(36_000)), Ok(()));
    }
}
