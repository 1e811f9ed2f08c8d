//! Who asked for a step, and what may be done for them.

use super::StepError;
use crate::{
    access::Permit,
    audit::{Entry, Event},
    keystore::Purpose,
};

/// Who made one call.
#[derive(Clone, Debug)]
pub struct Caller {
    call: String,
    principal: String,
    rpc: String,
    permit: Option<Permit>,
}

impl Caller {
    /// A principal's call, as far as it is permitted.
    #[must_use]
    pub fn new(principal: String, permit: Permit) -> Self {
        let rpc = permit.rpc().name().to_owned();
        Self { call: uuid::Uuid::now_v7().to_string(), principal, rpc, permit: Some(permit) }
    }

    /// The service itself, mending what was cut off. It uses no key.
    #[must_use]
    pub fn service(task: &str) -> Self {
        let call = uuid::Uuid::now_v7().to_string();
        Self { call, principal: "service".to_owned(), rpc: task.to_owned(), permit: None }
    }

    /// A record that says who asked.
    #[must_use]
    pub fn entry(&self, event: Event) -> Entry {
        Entry {
            call: Some(self.call.clone()),
            principal: Some(self.principal.clone()),
            rpc: Some(self.rpc.clone()),
            ..Entry::of(event)
        }
    }

    /// What is permitted; nothing to the service itself.
    #[must_use]
    pub fn permit(&self) -> Option<&Permit> {
        self.permit.as_ref()
    }

    /// Refuses a train that no grant covers.
    pub(super) fn may_have_train(&self, id: &str) -> Result<(), StepError> {
        match &self.permit {
            Some(permit) if permit.for_train(id).is_none() => Err(StepError::TrainNotGranted),
            _ => Ok(()),
        }
    }

    /// Refuses what is not known to be a train that a grant names, where grants name trains.
    pub(super) fn may_have_any_train(&self) -> Result<(), StepError> {
        match &self.permit {
            Some(permit) if permit.is_for_named_trains() => Err(StepError::TrainNotGranted),
            _ => Ok(()),
        }
    }

    /// Refuses a train key that no grant covers for this train.
    pub(super) fn may_use_train_key(&self, label: &str, train: &str) -> Result<(), StepError> {
        let permit = self.permit.as_ref().and_then(|permit| permit.for_train(train));
        match permit {
            Some(permit) if permit.covers_key(label, Purpose::Train) => Ok(()),
            _ => Err(StepError::KeyNotGranted),
        }
    }
}
