//! Accounts for every refused call. A principal controls how many of its calls are refused, but not their cost: each has a
//! record and a log line up to a rate; beyond it they are counted, by RPC and reason.

use std::{
    collections::{BTreeMap, HashMap},
    num::NonZeroU32,
    sync::{Mutex, MutexGuard, PoisonError},
};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::status::{Reason, Refusal, unrecorded};
use crate::{
    audit::{Audit, Entry, Event},
    protocol::Caller,
};

/// Refusals without a record of their own: their number for each principal, by RPC and reason.
type Counted = BTreeMap<String, BTreeMap<(String, &'static str), u64>>;

/// Maximum number of RPCs and reasons that a summary names; the others are included in its total only.
const NAMED: usize = 32;

/// The account of refused calls.
pub struct Refusals {
    audit: Audit,
    recorded: DefaultKeyedRateLimiter<String>,
    lines: DefaultKeyedRateLimiter<String>,
    counted: Mutex<Counted>,
    /// Number of lines that were left out of the log, by principal.
    unsaid: Mutex<HashMap<String, u64>>,
}

impl Refusals {
    /// Makes an account in which each principal has `per_minute` records in a minute; it may use all of them at once.
    #[must_use]
    pub fn new(audit: Audit, per_minute: NonZeroU32) -> Self {
        let quota = Quota::per_minute(per_minute);
        Self {
            audit,
            recorded: RateLimiter::keyed(quota),
            lines: RateLimiter::keyed(quota),
            counted: Mutex::default(),
            unsaid: Mutex::default(),
        }
    }

    /// Accounts for a refusal before it is returned; returns the refusal for the caller.
    pub async fn refuse(&self, caller: &Caller, refusal: Refusal, entry: Entry) -> Refusal {
        match self.admit(caller, refusal) {
            Err(refusal) => refusal,
            Ok(refusal) => match self.audit.record_async(refusal.recorded(entry)).await {
                Ok(_) => refusal,
                Err(error) => unrecorded(&error),
            },
        }
    }

    /// As [`Refusals::refuse`], for a blocking thread.
    pub fn refuse_blocking(&self, caller: &Caller, refusal: Refusal, entry: Entry) -> Refusal {
        match self.admit(caller, refusal) {
            Err(refusal) => refusal,
            Ok(refusal) => match self.audit.record(refusal.recorded(entry)) {
                Ok(_) => refusal,
                Err(error) => unrecorded(&error),
            },
        }
    }

    /// Accounts for a refusal during authorisation, before a [`Caller`] exists. The call is refused, recorded or not. Returns
    /// whether the refusal has a record.
    pub async fn refuse_at_the_door(&self, (principal, rpc, call): (&str, &str, &str), refusal: &Refusal) -> bool {
        if self.recorded.check_key(&principal.to_owned()).is_err() {
            self.count(principal, rpc, refusal.reason());
            return false;
        }
        let entry = Entry {
            call: Some(call.to_owned()),
            principal: Some(principal.to_owned()),
            rpc: Some(rpc.to_owned()),
            ..Entry::of(Event::Refusal)
        };
        let _ = self.audit.record_async(refusal.recorded(entry)).await;
        true
    }

    /// Decides whether a refusal is recorded; logs it, or counts it.
    fn admit(&self, caller: &Caller, refusal: Refusal) -> Result<Refusal, Refusal> {
        let refusal = refusal.told_to(caller.principal());
        caller.account();
        if self.recorded.check_key(&caller.principal().to_owned()).is_ok() {
            refusal.log(caller);
            Ok(refusal)
        } else {
            caller.count();
            self.count(caller.principal(), caller.rpc(), refusal.reason());
            Err(refusal)
        }
    }

    /// Counts a refusal without a record.
    pub fn count(&self, principal: &str, rpc: &str, reason: Reason) {
        let mut counted = held(&self.counted);
        *counted.entry(principal.to_owned()).or_default().entry((rpc.to_owned(), reason.name())).or_default() += 1;
    }

    /// Whether another line about a principal's failed calls may be logged.
    pub fn may_say(&self, principal: &str) -> bool {
        let may = self.lines.check_key(&principal.to_owned()).is_ok();
        if !may {
            *held(&self.unsaid).entry(principal.to_owned()).or_default() += 1;
        }
        may
    }

    /// Records the number of refusals without a record, and logs the number of lines left out of the log.
    pub async fn sum_up(&self) {
        self.recorded.retain_recent();
        self.lines.retain_recent();
        let counted = std::mem::take(&mut *held(&self.counted));
        for (principal, counts) in counted {
            let entry = sum(principal, counts);
            tracing::info!(
                target: "stationmaster::refusal",
                principal = entry.principal, counts = %entry.about["counts"],
                "refused, without a line each"
            );
            let _ = self.audit.record_async(entry).await;
        }
        for (principal, count) in std::mem::take(&mut *held(&self.unsaid)) {
            tracing::info!(target: "stationmaster::rpc", principal, count, "calls that failed have no line each");
        }
    }
}

/// Returns one record of all counted refusals of a principal; the principal does not control its size either.
fn sum(principal: String, counts: BTreeMap<(String, &'static str), u64>) -> Entry {
    let all: u64 = counts.values().sum();
    let mut sorted: Vec<_> = counts.into_iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let mut named = serde_json::Map::new();
    for ((rpc, reason), count) in sorted.iter().take(NAMED) {
        let of_rpc = named.entry(rpc.clone()).or_insert_with(|| serde_json::json!({}));
        of_rpc[*reason] = (*count).into();
    }
    // If all were refused alike, the record states RPC and reason as for any other refusal.
    let (mut rpc, mut outcome) = (None, None);
    if let [((only_rpc, only_reason), _)] = &sorted[..] {
        (rpc, outcome) = (Some(only_rpc.clone()), Some((*only_reason).to_owned()));
    }
    let entry = Entry { principal: Some(principal), rpc, outcome, ..Entry::of(Event::Refusals) };
    entry.with("count", all).with("counts", serde_json::Value::Object(named))
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_of_a_principal_is_one_record_of_bounded_size() {
        let of = |rpc: &str, reason, count| ((rpc.to_owned(), reason), count);
        let alike = sum("one".into(), [of("Sign", "KEY_NOT_ALLOWED", 7)].into());
        assert_eq!((alike.rpc.as_deref(), alike.outcome.as_deref()), (Some("Sign"), Some("KEY_NOT_ALLOWED")));
        let rpcs: Vec<String> = (0..40).map(|at| format!("Rpc{at}")).collect();
        let many = rpcs.iter().flat_map(|rpc| Reason::ALL.iter().map(|reason| of(rpc, reason.name(), 1))).chain([of(
            "Sign",
            "HSM_FAULT",
            9,
        )]);
        let sum = sum("one".into(), many.collect());
        assert_eq!(sum.about["count"], 40 * Reason::ALL.len() as u64 + 9);
        assert_eq!((sum.rpc, &sum.about["counts"]["Sign"]["HSM_FAULT"]), (None, &9.into()));
        assert!(sum.about["counts"].to_string().len() < 2500, "{}", sum.about["counts"]);
    }
}
