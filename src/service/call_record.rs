//! Who makes a call, and the record of a call that is refused.

use tonic::Extensions;

use super::{
    refusals::Refusals,
    status::{Reason, Refusal, RpcError},
};
use crate::{audit::Event, protocol::Caller};

/// The caller that the server has put into a request's extensions, once it may call at all.
///
/// # Errors
/// When there is none: then nothing is done.
pub fn of(extensions: &Extensions) -> Result<Caller, Refusal> {
    extensions.get::<Caller>().cloned().ok_or_else(|| Reason::PeerUnknown.into())
}

/// Records refusals.
pub struct Recorder<'a>(pub &'a Refusals);

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
        self.0.refuse(caller, refusal, caller.entry(Event::Refusal)).await.into()
    }
}
