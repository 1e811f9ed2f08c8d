//! How much one principal may at once and in a second, so that none takes all.

use std::num::NonZeroU32;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::{
    config::Limits,
    service::{
        shares::{Place, Shares},
        status::{Reason, Refusal},
    },
};

/// Questions to health and reflection that one principal may ask in a second. The value is a constant above zero, so `unwrap` is
/// evaluated, and cannot fail, at compile time.
const QUESTIONS: NonZeroU32 = NonZeroU32::new(100).unwrap();

/// The caps of all. Health and reflection have caps of their own: health must answer when all else is busy.
pub(super) struct Caps {
    calls: Cap,
    questions: Cap,
}

struct Cap {
    places: Shares,
    rate: DefaultKeyedRateLimiter<String>,
}

impl Cap {
    fn new(limits: &Limits, rate: NonZeroU32) -> Self {
        Self {
            places: Shares::with_share(limits.requests, limits.principal_requests),
            rate: RateLimiter::keyed(Quota::per_second(rate)),
        }
    }

    fn is_in_time(&self, principal: &str) -> bool {
        self.rate.check_key(&principal.to_owned()).is_ok()
    }

    fn place(&self, principal: &str) -> Result<Place, Refusal> {
        self.places.take(principal).ok_or_else(|| Reason::Overloaded.into())
    }
}

impl Caps {
    pub fn new(limits: &Limits) -> Self {
        Self { calls: Cap::new(limits, limits.principal_calls_per_s), questions: Cap::new(limits, QUESTIONS) }
    }

    /// Whether a principal may make one more call now.
    pub fn is_in_time(&self, principal: &str) -> bool {
        self.calls.is_in_time(principal)
    }

    /// A place for one call.
    pub fn place(&self, principal: &str) -> Result<Place, Refusal> {
        self.calls.place(principal)
    }

    /// A place for one question to health or reflection.
    pub fn question(&self, principal: &str) -> Result<Place, Refusal> {
        if self.questions.is_in_time(principal) { self.questions.place(principal) } else { Err(Reason::Overloaded.into()) }
    }

    /// Forgets principals that have not called for a while.
    pub fn forget(&self) {
        self.calls.rate.retain_recent();
        self.questions.rate.retain_recent();
    }
}
