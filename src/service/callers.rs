//! Who makes a call, and the record of a call that is refused.

use tonic::Extensions;

use super::status::{Reason, Refusal, RpcError, unrecorded};
use crate::{
    audit::{Audit, Event},
    protocol::Caller,
};

/// The caller that the server has put into a request's extensions, once it may call at all.
///
/// # Errors
/// When there is none: then nothing is done.
pub fn of(extensions: &Extensions) -> Result<Caller, Refusal> {
    extensions.get::<Caller>().cloned().ok_or_else(|| Reason::PeerUnknown.into())
}

/// Records refusals.
pub struct Recorder<'a>(pub &'a Audit);

impl Recorder<'_> {
    /// Records a refusal before it is answered.
    ///
    /// # Errors
    /// The refusal, or that it cannot be recorded.
    pub async fn checked<T>(&self, caller: &Caller, outcome: Result<T, Refusal>) -> Result<T, RpcError> {
        match outcome {
            Ok(value) => Ok(value),
            Err(refusal) => Err(self.refuse(caller, refusal).await),
        }
    }

    /// Records a refusal; answers what the caller gets.
    pub async fn refuse(&self, caller: &Caller, refusal: Refusal) -> RpcError {
        let entry = refusal.recorded(caller.entry(Event::Refusal));
        match self.0.record_async(entry).await {
            Ok(_) => refusal.into(),
            Err(error) => unrecorded(&error).into(),
        }
    }
}
