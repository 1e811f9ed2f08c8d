//! Conditions that must hold for the demonstration to pass.

use stationmaster::service::status::{Failure, Reason, RpcError};

use super::DemoError;

/// Returns an error when a condition does not hold; `what` names the condition.
pub(super) fn require(holds: bool, what: impl Into<String>) -> Result<(), DemoError> {
    if holds { Ok(()) } else { Err(DemoError::Unproven(what.into())) }
}

/// Returns the failure of a call that must be refused for this reason; an error when it was not.
pub(super) fn refused_as(reason: Reason, result: Result<(), RpcError>) -> Result<Failure, DemoError> {
    let Err(status) = result else {
        return Err(DemoError::Unproven(format!("the call is refused as {}; it succeeded", reason.name())));
    };
    let failure = Failure::from(&status);
    let found = failure.reason_name.as_deref().unwrap_or("no reason");
    require(failure.reason == Some(reason), format!("the call is refused as {} (it was: {found})", reason.name()))?;
    Ok(failure)
}
