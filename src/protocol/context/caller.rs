//! The caller of a step: its identity and its permissions.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use super::error::StepError;
use crate::{
    audit::{Entry, Event},
    authz::{Permit, Purpose},
};

/// The caller of one RPC.
#[derive(Clone, Debug)]
pub struct Caller {
    call: String,
    principal: String,
    rpc: String,
    permit: Option<Permit>,
    running: Arc<Running>,
}

/// State shared by all clones of a call's [`Caller`] while the call runs.
#[derive(Debug, Default)]
struct Running {
    /// Whether a record of the call's outcome exists or will be written.
    is_accounted: AtomicBool,
    /// Whether the call is only counted, without a record or a log line.
    is_counted: AtomicBool,
    /// Whether the permission of the call was withdrawn.
    is_withdrawn: AtomicBool,
    permitted: Mutex<Permitted>,
}

#[derive(Debug, Default)]
struct Permitted {
    /// The current permit, if it has changed since the call began.
    now: Option<Permit>,
    /// The permissions that the call has used so far.
    uses: Vec<Used>,
}

/// A permission that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Used {
    Train(String),
    AnyTrain,
    TrainKey { label: String, train: String },
    Key { label: String, purpose: Purpose },
}

impl Used {
    fn is_covered_by(&self, permit: &Permit) -> bool {
        match self {
            Self::Train(id) => permit.for_train(id).is_some(),
            Self::AnyTrain => !permit.is_for_named_trains(),
            Self::TrainKey { label, train } => {
                permit.for_train(train).is_some_and(|permit| permit.covers_key(label, Purpose::Train))
            }
            Self::Key { label, purpose } => permit.covers_key(label, *purpose),
        }
    }
}

impl Caller {
    /// Makes the caller for a principal's call with a permit. `call` is its id in records and in the log.
    #[must_use]
    pub fn new(call: String, principal: String, permit: Permit) -> Self {
        let rpc = permit.rpc().name().to_owned();
        Self { call, principal, rpc, permit: Some(permit), running: Arc::default() }
    }

    /// Makes the caller for the service's own recovery tasks. It uses no key.
    #[must_use]
    pub fn service(task: &str) -> Self {
        let call = new_call();
        Self { call, principal: "service".to_owned(), rpc: task.to_owned(), permit: None, running: Arc::default() }
    }

    /// Returns the call's id.
    #[must_use]
    pub fn call(&self) -> &str {
        &self.call
    }

    /// Returns the principal's name, which limits and shares apply to.
    #[must_use]
    pub fn principal(&self) -> &str {
        &self.principal
    }

    /// Returns the RPC's name, or the service's own task.
    #[must_use]
    pub fn rpc(&self) -> &str {
        &self.rpc
    }

    /// Notes that the call's outcome is recorded, is counted, or will be.
    pub fn account(&self) {
        self.running.is_accounted.store(true, Ordering::Release);
    }

    /// Whether the outcome is accounted for.
    #[must_use]
    pub fn is_accounted(&self) -> bool {
        self.running.is_accounted.load(Ordering::Acquire)
    }

    /// Notes that the call's refusal is only counted.
    pub fn count(&self) {
        self.running.is_counted.store(true, Ordering::Release);
    }

    /// Whether the refusal is only counted.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.running.is_counted.load(Ordering::Acquire)
    }

    /// Whether the permission of the call was withdrawn.
    #[must_use]
    pub fn is_withdrawn(&self) -> bool {
        self.running.is_withdrawn.load(Ordering::Acquire)
    }

    /// Applies the current permit to the call. Returns whether that permit still covers every permission used so far; from then
    /// on it applies to every further check.
    pub fn look_again(&self, now: Option<Permit>) -> bool {
        let mut permitted = self.permitted();
        let covered = now.as_ref().is_some_and(|now| permitted.uses.iter().all(|used| used.is_covered_by(now)));
        if covered {
            permitted.now = now.filter(|now| Some(now) != self.permit.as_ref());
        } else {
            self.running.is_withdrawn.store(true, Ordering::Release);
        }
        covered
    }

    /// Whether the call may use this key by its name.
    #[must_use]
    pub fn may_use_key(&self, label: &str, purpose: Purpose) -> bool {
        self.permit.is_some() && self.is_permitted(Used::Key { label: label.to_owned(), purpose })
    }

    /// Checks the permit that the call began with, and the current one if it differs.
    fn is_permitted(&self, used: Used) -> bool {
        let Some(permit) = &self.permit else { return true };
        let mut permitted = self.permitted();
        let now = permitted.now.as_ref().unwrap_or(permit);
        let is_covered = used.is_covered_by(permit) && used.is_covered_by(now);
        if is_covered && !permitted.uses.contains(&used) {
            permitted.uses.push(used);
        }
        is_covered
    }

    fn permitted(&self) -> MutexGuard<'_, Permitted> {
        self.running.permitted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a record that names the caller.
    #[must_use]
    pub fn entry(&self, event: Event) -> Entry {
        Entry {
            call: Some(self.call.clone()),
            principal: Some(self.principal.clone()),
            rpc: Some(self.rpc.clone()),
            ..Entry::of(event)
        }
    }

    /// Returns the permit; `None` for the service itself.
    #[must_use]
    pub fn permit(&self) -> Option<&Permit> {
        self.permit.as_ref()
    }

    /// Refuses a train that no grant covers.
    pub(in crate::protocol) fn may_have_train(&self, id: &str) -> Result<(), StepError> {
        if self.is_permitted(Used::Train(id.to_owned())) { Ok(()) } else { Err(StepError::TrainNotGranted) }
    }

    /// Refuses an image that is not known to be a granted train, if the caller's grants name trains.
    pub(in crate::protocol) fn may_have_any_train(&self) -> Result<(), StepError> {
        if self.is_permitted(Used::AnyTrain) { Ok(()) } else { Err(StepError::TrainNotGranted) }
    }

    /// Refuses a train key that no grant covers for this train. The service itself uses none.
    pub(in crate::protocol) fn may_use_train_key(&self, label: &str, train: &str) -> Result<(), StepError> {
        let used = Used::TrainKey { label: label.to_owned(), train: train.to_owned() };
        if self.permit.is_some() && self.is_permitted(used) { Ok(()) } else { Err(StepError::KeyNotGranted) }
    }
}

/// Returns a new call id: UUID, version 7.
#[must_use]
pub fn new_call() -> String {
    uuid::Uuid::now_v7().to_string()
}

#[cfg(test)]
mod tests {
    use crate::{
        authz::{Grant, GrantSpec, Grants, Principals, Rpc},
        protocol::context::caller::*,
    };

    fn permit(trains: Option<&[&str]>) -> Option<Permit> {
        let trains: Option<Vec<String>> = trains.map(|ids| ids.iter().map(|&id| id.to_owned()).collect());
        let stated =
            GrantSpec { principal: "unix:uid=7", rpcs: &["PreRun".into()], trains: trains.as_deref(), ..Default::default() };
        let mut grants = Grants::default();
        grants.add(Grant::new(&stated).unwrap());
        grants.decide(&Principals::of_socket(7, 7), Rpc::PreRun)
    }

    #[test]
    fn a_call_goes_on_while_grants_cover_what_it_did_and_does_nothing_that_they_no_longer_do() {
        let caller = Caller::new(new_call(), "unix:uid=7".into(), permit(None).unwrap());
        caller.may_have_train("a").unwrap();
        caller.may_use_train_key("key", "a").unwrap();
        assert!(caller.look_again(permit(Some(&["a", "b"]))) && !caller.is_withdrawn());
        caller.may_have_train("b").unwrap();
        caller.may_have_train("c").unwrap_err();
        assert!(!caller.look_again(permit(Some(&["a"]))), "b was permitted meanwhile");
        assert!(caller.is_withdrawn());
        let other = Caller::new(new_call(), "unix:uid=7".into(), permit(None).unwrap());
        assert!(!other.look_again(None) && other.is_withdrawn());
    }
}
