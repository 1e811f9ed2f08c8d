//! A key with its probed capabilities, and finding it again in a session.

use std::collections::BTreeMap;

use cryptoki::{object::ObjectHandle, session::Session};
use openssl::{
    bn::BigNum,
    pkey::{PKey, Public},
};

use super::{
    objects::{self, PrivateKey},
    probe::{KeyCapabilities, UnwrapMethod},
    quirks::Quirk,
};
use crate::{Capability, KeyDescription, KeyId, KeyType, KeyUsage, KeystoreError, OaepScheme, SignScheme};

/// A key as it was found and probed.
pub(crate) struct Key {
    pub(super) private: PrivateKey,
    pub(super) usage: KeyUsage,
    pub(super) capabilities: KeyCapabilities,
}

impl Key {
    pub(crate) fn id(&self) -> KeyId {
        self.private.description.id
    }

    pub(crate) fn label(&self) -> &str {
        &self.private.description.label
    }

    pub(super) fn key_type(&self) -> KeyType {
        self.private.description.key_type
    }

    pub(super) fn bits(&self) -> u32 {
        self.private.description.bits
    }

    pub(crate) fn public(&self) -> &PKey<Public> {
        &self.private.public
    }

    pub(crate) fn can_sign(&self, scheme: SignScheme) -> bool {
        self.capabilities.sign_capability(scheme) != Capability::No
    }

    pub(crate) fn can_unwrap(&self, scheme: OaepScheme) -> bool {
        self.capabilities.unwrap_method(scheme) != UnwrapMethod::No
    }

    /// Returns the description, with the capabilities.
    pub(crate) fn description(&self) -> KeyDescription {
        let mut capabilities = BTreeMap::new();
        let key_type = self.key_type();
        for scheme in SignScheme::ALL.into_iter().filter(|scheme| scheme.key_type() == key_type) {
            capabilities.insert(scheme.name(), self.capabilities.sign_capability(scheme));
        }
        for scheme in OaepScheme::ALL.into_iter().filter(|_| key_type == KeyType::Rsa) {
            capabilities.insert(scheme.name(), self.capabilities.unwrap_method(scheme).capability());
        }
        KeyDescription { capabilities, ..self.private.description.clone() }
    }

    /// Returns the key's handle in this session. Handles end with the login and the session, and are never kept longer.
    pub(super) fn find(&self, session: &Session) -> Result<Option<ObjectHandle>, cryptoki::error::Error> {
        let handles = objects::private_keys_by_id(
            session,
            self.key_type().into(),
            &self.private.object_label,
            &self.private.description.cka_id,
        )?;
        // Two keys with the same label and id cannot be distinguished, and count as none.
        Ok(if let [handle] = handles[..] { Some(handle) } else { None })
    }

    /// Returns the error for a scheme, for keys of type `needed`, that this key cannot do.
    pub(crate) fn unsupported(&self, scheme: &'static str, needed: KeyType) -> KeystoreError {
        let other_type = self.private.description.check_type(scheme, needed).err();
        other_type.unwrap_or_else(|| KeystoreError::MechanismUnsupported { label: self.label().to_owned(), scheme })
    }

    /// Returns whether the ciphertext is as long as the modulus, and numerically smaller.
    pub(crate) fn could_have_wrapped(&self, wrapped: &[u8]) -> bool {
        let smaller = || -> Result<bool, openssl::error::ErrorStack> {
            Ok(BigNum::from_slice(wrapped)?.as_ref() < self.private.public.rsa()?.n())
        };
        wrapped.len() == self.private.public.size() && smaller().unwrap_or(false)
    }

    /// Returns the differences from a key that was generated in the token for its usage. None of them prevents the use of the key.
    fn shortcomings(&self, quirk: &Quirk) -> Vec<&'static str> {
        let key = &self.private.description;
        let signs_pkcs1 = self.capabilities.signs.iter().any(|scheme| matches!(scheme, SignScheme::Pkcs1(_)));
        let does_more = signs_pkcs1 && !self.usage.signs_pkcs1();
        [
            (
                !key.generated_in_token && !quirk.hides_origin,
                "the key was not made in the token: copies of it may exist outside (`key generate` makes one there)",
            ),
            (!key.sensitive, "the private key can be read out of the token in plain text"),
            (key.extractable, "the key can be taken out of the token"),
            (
                does_more,
                "the token lets the key do more than its purpose needs: it was made for another purpose, or by another tool",
            ),
        ]
        .into_iter()
        .filter_map(|(is_so, text)| is_so.then_some(text))
        .collect()
    }

    /// Logs the results of the trial at the start, so that raw RSA is never used silently.
    pub(super) fn report(&self, quirk: &Quirk) {
        let ways = OaepScheme::ALL.map(|scheme| (scheme.name(), self.capabilities.unwrap_method(scheme).capability()));
        let (key_type, signs) = (self.key_type().name(), self.capabilities.signs.len());
        tracing::info!(key = self.label(), r#type = key_type, bits = self.bits(), signs, unwraps = ?ways, "key tried");
        for scheme in &self.capabilities.signs_raw {
            tracing::info!(
                key = self.label(),
                scheme = scheme.name(),
                "the token refuses the scheme: it is encoded here and signed with raw RSA"
            );
        }
        for shortcoming in self.shortcomings(quirk) {
            tracing::warn!(key = self.label(), "{shortcoming}");
        }
    }
}

pub(crate) fn not_found(label: &str) -> KeystoreError {
    KeystoreError::KeyNotFound { label: label.to_owned() }
}
