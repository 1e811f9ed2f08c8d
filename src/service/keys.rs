//! `KeyService`: shows the station's keys and uses the general-purpose ones.

mod convert;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, time::Instant};

use tonic::{Request, Response};

use super::{
    Deadline,
    status::{Answer, Reason, Refusal},
};
use crate::{
    keystore::{KeyInfo, Keystore, Purpose},
    pb,
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
        }
    }
}

/// The service.
#[derive(Clone)]
pub struct Keys {
    keystore: Keystore,
    policy: Policy,
}

impl Keys {
    /// Serves the keys of `keystore` as far as `policy` allows.
    #[must_use]
    pub fn new(keystore: Keystore, policy: Policy) -> Self {
        Self { keystore, policy }
    }

    fn raw_key(&self, label: &str) -> Result<KeyInfo, Refusal> {
        if label.is_empty() {
            return Err(Reason::MalformedRequest.status("key_label is empty").with_field("key_label", "must not be empty"));
        }
        let key = self.keystore.key(label)?;
        if !self.policy.allows_raw(key.purpose, &key.label) {
            return Err(
                Reason::KeyNotAllowed.status("a train key is used by trains only, unless the configuration names it in raw_use")
            );
        }
        Ok(key)
    }

    async fn sign_digest(&self, request: pb::SignRequest, deadline: Option<Instant>) -> Result<pb::SignResponse, Refusal> {
        let key = self.raw_key(&request.key_label)?;
        let scheme = convert::signature_scheme(request.scheme)?;
        let length = scheme.hash().len();
        if request.digest.len() != length {
            let text = format!("must be {length} bytes for this scheme");
            return Err(Reason::MalformedRequest.status(format!("digest {text}")).with_field("digest", text));
        }
        let signature = self.keystore.sign(&key.label, scheme, &request.digest, deadline).await?;
        Ok(pb::SignResponse { signature, fingerprint: spki_fingerprint(&key.spki_der) })
    }

    async fn open_key(&self, request: pb::UnwrapKeyRequest, deadline: Option<Instant>) -> Result<pb::UnwrapKeyResponse, Refusal> {
        let key = self.raw_key(&request.key_label)?;
        let scheme = convert::wrapping_scheme(request.scheme)?;
        let length = key.bits.div_ceil(8) as usize;
        if request.wrapped_key.len() != length {
            let text = format!("must be {length} bytes, as long as the modulus");
            return Err(Reason::MalformedRequest.status(format!("wrapped_key {text}")).with_field("wrapped_key", text));
        }
        let opened = self.keystore.unwrap(&key.label, scheme, &request.wrapped_key, deadline).await?;
        Ok(pb::UnwrapKeyResponse { key: opened.to_vec() })
    }
}

#[tonic::async_trait]
impl pb::key_service_server::KeyService for Keys {
    async fn list_keys(&self, _request: Request<pb::ListKeysRequest>) -> Answer<pb::ListKeysResponse> {
        let keys = self.keystore.keys().iter().map(key_message).collect();
        Ok(Response::new(pb::ListKeysResponse { keys }))
    }

    async fn get_key(&self, request: Request<pb::GetKeyRequest>) -> Answer<pb::GetKeyResponse> {
        let key = self.keystore.key(&request.get_ref().label).map_err(Refusal::from)?;
        Ok(Response::new(pb::GetKeyResponse { key: Some(key_message(&key)) }))
    }

    async fn sign(&self, request: Request<pb::SignRequest>) -> Answer<pb::SignResponse> {
        let deadline = Deadline::of(request.extensions());
        Ok(Response::new(self.sign_digest(request.into_inner(), deadline).await?))
    }

    async fn unwrap_key(&self, request: Request<pb::UnwrapKeyRequest>) -> Answer<pb::UnwrapKeyResponse> {
        let deadline = Deadline::of(request.extensions());
        Ok(Response::new(self.open_key(request.into_inner(), deadline).await?))
    }
}
