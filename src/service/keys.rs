//! `KeyService`: lists the station's keys and uses the general-purpose ones.

mod convert;
mod name;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Instant};

pub use convert::key_message;
use name::KeyName;
use stationmaster_keystore::KeyType;
use stationmaster_proto as pb;
use stationmaster_train::keys::spki_fingerprint;
use tonic::{Request, Response};

use super::{
    Deadline,
    call_record::{self, Recorder},
    refusals::Refusals,
    status::{Answer, Reason, Refusal, key_states_unknown, named, unrecorded},
};
use crate::{
    authz::Permit,
    protocol::{AuditedKeys, Caller, KeyUseError, OnBehalf, RawKey, RawKeyError, StationKey},
};

/// Implementation of `KeyService`.
#[derive(Clone)]
pub struct Keys {
    keys: AuditedKeys,
    refusals: Arc<Refusals>,
}

impl Keys {
    /// Makes the service for the station's keys, as far as configuration and grants allow.
    #[must_use]
    pub fn new(keys: AuditedKeys, refusals: Arc<Refusals>) -> Self {
        Self { keys, refusals }
    }

    /// Returns a key that the caller may use raw.
    async fn raw_key(&self, caller: &Caller, name: &KeyName, deadline: Option<Instant>) -> Result<RawKey, Refusal> {
        let key = self.keys.raw_key(caller, name.label(), deadline).await.map_err(|error| about(name.label(), error))?;
        if name.is_of(key.key()) { Ok(key) } else { Err(not_that_key(name)) }
    }

    /// Returns a key that the caller may see.
    async fn shown_key(&self, caller: &Caller, name: &str, deadline: Option<Instant>) -> Result<StationKey, Refusal> {
        let name = KeyName::of(name, "label")?;
        let label = name.label();
        let permit = covering(caller, label)?;
        let key = self.keys.find(caller, label, deadline).await.map_err(|error| about(label, error))?;
        if !permit.covers_key(label, key.purpose) {
            return Err(not_granted());
        }
        if name.is_of(&key) { Ok(key) } else { Err(not_that_key(&name)) }
    }

    async fn sign_digest(
        self,
        caller: Caller,
        request: pb::SignRequest,
        deadline: Option<Instant>,
    ) -> Result<pb::SignResponse, Refusal> {
        let name = KeyName::of(&request.key_label, "key_label")?;
        let key = self.raw_key(&caller, &name, deadline).await?;
        let scheme = convert::signature_scheme(request.scheme)?;
        key.key().description.check_type(scheme.name(), scheme.key_type())?;
        let signed = convert::signed(scheme, &request)?;
        let signature = self.keys.sign_raw(&key, OnBehalf::raw(&caller, deadline), scheme, signed).await;
        let signature = signature.map_err(|error| about(name.label(), error))?;
        Ok(pb::SignResponse { signature, fingerprint: spki_fingerprint(&key.key().description.spki_der) })
    }

    async fn open_key(
        self,
        caller: Caller,
        request: pb::UnwrapKeyRequest,
        deadline: Option<Instant>,
    ) -> Result<pb::UnwrapKeyResponse, Refusal> {
        let name = KeyName::of(&request.key_label, "key_label")?;
        let key = self.raw_key(&caller, &name, deadline).await?;
        let scheme = convert::wrapping_scheme(request.scheme)?;
        key.key().description.check_type(scheme.name(), KeyType::Rsa)?;
        let length = key.key().description.bits.div_ceil(8) as usize;
        if request.wrapped_key.len() != length {
            let text = format!("must be {length} bytes, as long as the modulus");
            return Err(Reason::MalformedRequest.status(format!("wrapped_key {text}")).with_field("wrapped_key", text));
        }
        let opened = self.keys.unwrap_raw(&key, OnBehalf::raw(&caller, deadline), scheme, &request.wrapped_key).await;
        let opened = opened.map_err(|error| about(name.label(), error))?;
        Ok(pb::UnwrapKeyResponse { key: opened.to_vec() })
    }

    /// Runs a use of a key to its end, even if its caller disconnects: its outcome is recorded in every case.
    async fn to_its_end<T: Send + 'static>(
        &self,
        caller: Caller,
        using: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Answer<T> {
        // The caller may disconnect: the outcome is accounted for nevertheless.
        caller.account();
        let refusals = Arc::clone(&self.refusals);
        let task = tokio::spawn(async move { Recorder(&refusals).checked(&caller, using.await).await });
        Ok(Response::new(task.await.unwrap_or_else(|_| Err(Refusal::from(Reason::Invariant).into()))?))
    }

    async fn refuse<T>(&self, caller: &Caller, refusal: Refusal) -> Answer<T> {
        Err(Recorder(&self.refusals).refuse(caller, refusal).await)
    }
}

/// Returns the caller's permit, if it covers some key with that label.
fn covering<'a>(caller: &'a Caller, label: &str) -> Result<&'a Permit, Refusal> {
    caller.permit().filter(|permit| permit.may_name(label)).ok_or_else(not_granted)
}

/// Returns the refusal for a failure with a key that the caller named and may name: that it does not exist is reported with its
/// label. If a train's key is missing, its label is the station's own and is not reported.
fn about(label: &str, error: impl Into<Refusal>) -> Refusal {
    let refusal = error.into();
    match refusal.reason() {
        Reason::KeyNotFound => {
            Reason::KeyNotFound.status(format!("the station has no key \"{}\"", named(label))).with_meta("key", named(label))
        }
        _ => refusal,
    }
}

/// Returns the refusal for a URI whose label is of a key that lacks something else that the URI names.
fn not_that_key(name: &KeyName) -> Refusal {
    let label = named(name.label());
    Reason::KeyNotFound.status(format!("the key \"{label}\" is not the one that the URI names")).with_meta("key", label)
}

fn not_granted() -> Refusal {
    Reason::KeyNotAllowed.status("this key is not granted for this call")
}

impl From<RawKeyError> for Refusal {
    fn from(error: RawKeyError) -> Self {
        match error {
            RawKeyError::NotGranted => not_granted(),
            RawKeyError::Keystore(error) => error.into(),
            RawKeyError::State(error) => error.into(),
            error => Reason::KeyNotAllowed.status(error.to_string()),
        }
    }
}

impl From<KeyUseError> for Refusal {
    fn from(error: KeyUseError) -> Self {
        match error {
            KeyUseError::Audit(error) => unrecorded(&error),
            KeyUseError::Keystore(error) => error.into(),
            KeyUseError::States(error) => key_states_unknown(&error),
            error @ KeyUseError::NotInForce { .. } => Reason::KeyNotAllowed.status(error.to_string()),
        }
    }
}

#[tonic::async_trait]
impl pb::key_service_server::KeyService for Keys {
    async fn list_keys(&self, request: Request<pb::ListKeysRequest>) -> Answer<pb::ListKeysResponse> {
        let caller = call_record::of(request.extensions())?;
        let shown = |key: &StationKey| caller.permit().is_some_and(|permit| permit.covers_key(key.label(), key.purpose));
        let keys = self.keys.keys().iter().filter(|key| shown(key)).map(key_message).collect();
        Ok(Response::new(pb::ListKeysResponse { keys }))
    }

    async fn get_key(&self, request: Request<pb::GetKeyRequest>) -> Answer<pb::GetKeyResponse> {
        let caller = call_record::of(request.extensions())?;
        let deadline = Deadline::of(request.extensions());
        match self.shown_key(&caller, &request.get_ref().label, deadline).await {
            Ok(key) => Ok(Response::new(pb::GetKeyResponse { key: Some(key_message(&key)) })),
            Err(refusal) => self.refuse(&caller, refusal).await,
        }
    }

    async fn sign(&self, request: Request<pb::SignRequest>) -> Answer<pb::SignResponse> {
        let caller = call_record::of(request.extensions())?;
        let deadline = Deadline::of(request.extensions());
        let using = self.clone().sign_digest(caller.clone(), request.into_inner(), deadline);
        self.to_its_end(caller, using).await
    }

    async fn unwrap_key(&self, request: Request<pb::UnwrapKeyRequest>) -> Answer<pb::UnwrapKeyResponse> {
        let caller = call_record::of(request.extensions())?;
        let deadline = Deadline::of(request.extensions());
        let using = self.clone().open_key(caller.clone(), request.into_inner(), deadline);
        self.to_its_end(caller, using).await
    }
}
