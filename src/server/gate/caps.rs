//! How much one principal may at once and in a second, so that none takes all.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::sync::Semaphore;

use crate::{
    config::Limits,
    server::observe::Slot,
    service::status::{Reason, Refusal},
};

/// Refusals of one principal that have a record each, in a second; the others are counted. Not zero, as the compiler sees.
const RECORDED: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// The caps of all.
pub(super) struct Caps {
    all: Arc<Semaphore>,
    each: usize,
    of: Mutex<HashMap<String, Arc<Semaphore>>>,
    calls: DefaultKeyedRateLimiter<String>,
    recorded: DefaultKeyedRateLimiter<String>,
    counted: Mutex<Counted>,
}

/// Refusals without a record of their own: how many, by principal, RPC and reason.
pub(super) type Counted = HashMap<(String, &'static str, &'static str), u64>;

impl Caps {
    pub fn new(limits: &Limits) -> Self {
        Self {
            all: Arc::new(Semaphore::new(limits.requests)),
            each: limits.principal_requests.min(limits.requests),
            of: Mutex::default(),
            calls: RateLimiter::keyed(Quota::per_second(limits.principal_calls_per_s)),
            recorded: RateLimiter::keyed(Quota::per_second(RECORDED)),
            counted: Mutex::default(),
        }
    }

    /// Whether a principal may make one more call now.
    pub fn is_in_time(&self, principal: &str) -> bool {
        self.calls.check_key(&principal.to_owned()).is_ok()
    }

    /// Whether one more refusal of a principal gets a record.
    pub fn is_recorded(&self, principal: &str) -> bool {
        self.recorded.check_key(&principal.to_owned()).is_ok()
    }

    /// Counts a refusal that gets none.
    pub fn count(&self, principal: &str, rpc: &'static str, reason: Reason) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        *counted.entry((principal.to_owned(), rpc, reason.name())).or_default() += 1;
    }

    /// The refusals counted so far; forgets them, and whoever has not called for a while.
    pub fn take_counted(&self) -> Counted {
        self.calls.retain_recent();
        self.recorded.retain_recent();
        self.of.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, cap| Arc::strong_count(cap) > 1);
        std::mem::take(&mut *self.counted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A place for one call.
    pub fn slot(&self, principal: &str) -> Result<Slot, Refusal> {
        let of = {
            let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(of.entry(principal.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(self.each))))
        };
        let overloaded = |_| Refusal::from(Reason::Overloaded);
        Ok(Slot::new(of.try_acquire_owned().map_err(overloaded)?, Arc::clone(&self.all).try_acquire_owned().map_err(overloaded)?))
    }
}
