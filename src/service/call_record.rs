//! The caller of a call, and the audit record of a refused one.

use tonic::Extensions;

use super::{
    refusals::Refusals,
    status::{Reason, Refusal, RpcError},
};
use crate::{audit::Event, protocol::Caller};

/// Returns the caller that the server has put into a request's extensions after admitting the call.
///
/// # Errors
/// When there is no caller: then the call has no effect.
pub fn of(extensions: &Extensions) -> Result<Caller, Refusal> {
    extensions.get::<Caller>().cloned().ok_or_else(|| Reason::PeerUnknown.into())
}

/// Records refusals.
pub struct Recorder<'a>(pub &'a Refusals);

impl Recorder<'_> {
    /// Records a refusal before it is returned.
    ///
    /// # Errors
    /// The refusal, or that it cannot be recorded.
    pub async fn checked<T>(&self, caller: &Caller, outcome: Result<T, Refusal>) -> Result<T, RpcError> {
        match outcome {
            Ok(value) => Ok(value),
            Err(refusal) => Err(self.refuse(caller, refusal).await),
        }
    }

    /// Records a refusal; returns the error for the caller.
    pub async fn refuse(&self, caller: &Caller, refusal: Refusal) -> RpcError {
        self.0.refuse(caller, refusal, caller.entry(Event::Refusal)).await.into()
    }
}
