//! Limits on the concurrent calls and the call rate of one principal, so that none can exhaust the service.

use std::num::NonZeroU32;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::{
    config::Limits,
    service::{
        shares::{Place, Shares},
        status::Refusal,
    },
};

/// Requests to health and reflection that one principal may make in a second. The value is a constant above zero, so `unwrap` is
/// evaluated, and cannot fail, at compile time.
const QUESTIONS: NonZeroU32 = NonZeroU32::new(100).unwrap();

/// All caps. Health and reflection have separate caps: health must respond when the service is busy.
pub(super) struct RateLimits {
    calls: RateLimit,
    questions: RateLimit,
}

struct RateLimit {
    places: Shares,
    rate: DefaultKeyedRateLimiter<String>,
    /// The limit on the rate: the setting's name, and calls per second.
    limit: (&'static str, u32),
}

impl RateLimit {
    fn new(limits: &Limits, name: &'static str, rate: NonZeroU32) -> Self {
        Self {
            places: Shares::with_share(limits.requests, limits.principal_requests),
            rate: RateLimiter::keyed(Quota::per_second(rate)),
            limit: (name, rate.get()),
        }
    }

    fn in_time(&self, principal: &str) -> Result<(), Refusal> {
        let (name, limit) = self.limit;
        self.rate.check_key(&principal.to_owned()).map_err(|_| Refusal::too_often(principal, name, limit))
    }

    fn place(&self, principal: &str) -> Result<Place, Refusal> {
        let taken = self.places.take(principal);
        taken.map_err(|full| Refusal::full(principal, full, "limits.principal_requests", "limits.requests"))
    }
}

impl RateLimits {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            calls: RateLimit::new(limits, "limits.principal_calls_per_s", limits.principal_calls_per_s),
            questions: RateLimit::new(limits, "questions_per_s", QUESTIONS),
        }
    }

    /// Refuses a principal that has made too many calls in the last second.
    pub(super) fn in_time(&self, principal: &str) -> Result<(), Refusal> {
        self.calls.in_time(principal)
    }

    /// Takes a place for one call.
    pub(super) fn place(&self, principal: &str) -> Result<Place, Refusal> {
        self.calls.place(principal)
    }

    /// Takes a place for one request to health or reflection.
    pub(super) fn question(&self, principal: &str) -> Result<Place, Refusal> {
        self.questions.in_time(principal)?;
        self.questions.place(principal)
    }

    /// Removes principals that have not called for a while.
    pub(super) fn forget(&self) {
        self.calls.rate.retain_recent();
        self.questions.rate.retain_recent();
    }
}
