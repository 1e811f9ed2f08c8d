//! `KeyService`: shows the station's keys and uses the general-purpose ones.

mod convert;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, time::Instant};

use tonic::{Request, Response};

use super::{
    Deadline,
    callers::{self, Recorder},
    status::{Answer, Reason, Refusal, unrecorded},
};
use crate::{
    access::Permit,
    audit::Entry,
    keystore::{KeyInfo, Purpose},
    pb,
    protocol::{AuditedKeys, Caller, KeyUseError},
    train::keys::spki_fingerprint,
};

pub use convert::key_message;

/// Which keys may be used raw, that is by `Sign` and `UnwrapKey`.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Labels of train keys that the configuration names in `[keys] raw_use`.
    pub raw_use: BTreeSet<String>,
}

impl Policy {
    /// Whether the key may be used raw. Looked at before anything else about the key.
    #[must_use]
    pub fn allows_raw(&self, purpose: Purpose, label: &str) -> bool {
        match purpose {
            Purpose::General => true,
            Purpose::Train => self.raw_use.contains(label),
            Purpose::Audit => false,
        }
    }
}

/// The service.
#[derive(Clone)]
pub struct Keys {
    keys: AuditedKeys,
    policy: Policy,
}

impl Keys {
    /// Serves the station's keys as far as `policy` and grants allow.
    #[must_use]
    pub fn new(keys: AuditedKeys, policy: Policy) -> Self {
        Self { keys, policy }
    }

    /// A key that may be used raw. What a grant does not cover is refused before it is known whether there is such a key.
    fn raw_key(&self, caller: &Caller, label: &str) -> Result<KeyInfo, Refusal> {
        if label.is_empty() {
            return Err(Reason::MalformedRequest.status("key_label is empty").with_field("key_label", "must not be empty"));
        }
        let permit = covering(caller, label)?;
        let key = self.keys.key(label)?;
        if !self.policy.allows_raw(key.purpose, &key.label) {
            return Err(Reason::KeyNotAllowed.status(
                "a train key is used by trains only, unless the configuration names it in raw_use; an audit key by nobody",
            ));
        }
        if !permit.covers_key(label, key.purpose) {
            return Err(not_granted());
        }
        Ok(key)
    }

    async fn sign_digest(
        self,
        caller: Caller,
        request: pb::SignRequest,
        deadline: Option<Instant>,
    ) -> Result<pb::SignResponse, Refusal> {
        let key = self.raw_key(&caller, &request.key_label)?;
        let scheme = convert::signature_scheme(request.scheme)?;
        let length = scheme.hash().len();
        if request.digest.len() != length {
            let text = format!("must be {length} bytes for this scheme");
            return Err(Reason::MalformedRequest.status(format!("digest {text}")).with_field("digest", text));
        }
        let asked = (&caller, Entry::default());
        let signature = self.keys.sign(asked, &key.label, scheme, &request.digest, deadline).await?;
        Ok(pb::SignResponse { signature, fingerprint: spki_fingerprint(&key.spki_der) })
    }

    async fn open_key(
        self,
        caller: Caller,
        request: pb::UnwrapKeyRequest,
        deadline: Option<Instant>,
    ) -> Result<pb::UnwrapKeyResponse, Refusal> {
        let key = self.raw_key(&caller, &request.key_label)?;
        let scheme = convert::wrapping_scheme(request.scheme)?;
        let length = key.bits.div_ceil(8) as usize;
        if request.wrapped_key.len() != length {
            let text = format!("must be {length} bytes, as long as the modulus");
            return Err(Reason::MalformedRequest.status(format!("wrapped_key {text}")).with_field("wrapped_key", text));
        }
        let asked = (&caller, Entry::default());
        let opened = self.keys.unwrap(asked, &key.label, scheme, &request.wrapped_key, deadline).await?;
        Ok(pb::UnwrapKeyResponse { key: opened.to_vec() })
    }

    /// Runs a use of a key to its end, whether its caller waits or not: its outcome is recorded all the same.
    async fn to_its_end<T: Send + 'static>(
        &self,
        caller: Caller,
        using: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Answer<T> {
        let audit = self.keys.audit().clone();
        let task = tokio::spawn(async move { Recorder(&audit).checked(&caller, using.await).await });
        Ok(Response::new(task.await.unwrap_or_else(|_| Err(Refusal::from(Reason::Invariant).into()))?))
    }

    async fn refuse<T>(&self, caller: &Caller, refusal: Refusal) -> Answer<T> {
        Err(Recorder(self.keys.audit()).refuse(caller, refusal).await)
    }
}

/// The caller's permit, where it covers some key of that label.
fn covering<'a>(caller: &'a Caller, label: &str) -> Result<&'a Permit, Refusal> {
    caller.permit().filter(|permit| permit.may_name(label)).ok_or_else(not_granted)
}

fn not_granted() -> Refusal {
    Reason::KeyNotAllowed.status("this key is not granted for this call")
}

impl From<KeyUseError> for Refusal {
    fn from(error: KeyUseError) -> Self {
        match error {
            KeyUseError::Audit(error) => unrecorded(&error),
            KeyUseError::Keystore(error) => error.into(),
        }
    }
}

#[tonic::async_trait]
impl pb::key_service_server::KeyService for Keys {
    async fn list_keys(&self, request: Request<pb::ListKeysRequest>) -> Answer<pb::ListKeysResponse> {
        let caller = callers::of(request.extensions())?;
        let shown = |key: &KeyInfo| caller.permit().is_some_and(|permit| permit.covers_key(&key.label, key.purpose));
        let keys = self.keys.keys().iter().filter(|key| shown(key)).map(key_message).collect();
        Ok(Response::new(pb::ListKeysResponse { keys }))
    }

    async fn get_key(&self, request: Request<pb::GetKeyRequest>) -> Answer<pb::GetKeyResponse> {
        let caller = callers::of(request.extensions())?;
        let label = &request.get_ref().label;
        let found = covering(&caller, label).and_then(|permit| {
            let key = self.keys.key(label)?;
            if permit.covers_key(label, key.purpose) { Ok(key) } else { Err(not_granted()) }
        });
        match found {
            Ok(key) => Ok(Response::new(pb::GetKeyResponse { key: Some(key_message(&key)) })),
            Err(refusal) => self.refuse(&caller, refusal).await,
        }
    }

    async fn sign(&self, request: Request<pb::SignRequest>) -> Answer<pb::SignResponse> {
        let caller = callers::of(request.extensions())?;
        let deadline = Deadline::of(request.extensions());
        let using = self.clone().sign_digest(caller.clone(), request.into_inner(), deadline);
        self.to_its_end(caller, using).await
    }

    async fn unwrap_key(&self, request: Request<pb::UnwrapKeyRequest>) -> Answer<pb::UnwrapKeyResponse> {
        let caller = callers::of(request.extensions())?;
        let deadline = Deadline::of(request.extensions());
        let using = self.clone().open_key(caller.clone(), request.into_inner(), deadline);
        self.to_its_end(caller, using).await
    }
}
