//! Output of a key, whether the service or the token described it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stationmaster_keystore::{KeyDescription, KeyType};
use stationmaster_proto as pb;
use stationmaster_train::keys::{spki_fingerprint, spki_pem};

use super::state_view::StateView;
use crate::{
    cli::output::{fields, yes},
    config::Config,
};

pub(super) struct KeyView {
    pub label: String,
    pub id: Vec<u8>,
    pub purpose: Option<&'static str>,
    pub key_type: KeyType,
    pub bits: u32,
    pub der: Vec<u8>,
    pub fingerprint: String,
    pub sensitive: bool,
    pub extractable: bool,
    pub never_extractable: bool,
    pub generated_in_token: bool,
    pub uris: Vec<String>,
    pub capabilities: BTreeMap<String, String>,
    /// Of a train key, if a token described it.
    pub state: Option<StateView>,
}

impl KeyView {
    pub(super) fn from_service(key: pb::Key) -> Self {
        let purpose = match key.purpose() {
            pb::KeyPurpose::Train => Some("train"),
            pb::KeyPurpose::General => Some("general"),
            pb::KeyPurpose::Audit => Some("audit"),
            pb::KeyPurpose::Unspecified => None,
        };
        let key_type = match key.r#type() {
            // A service before the field existed had no other keys.
            pb::KeyType::Rsa | pb::KeyType::Unspecified => KeyType::Rsa,
            pb::KeyType::EcP256 => KeyType::EcP256,
            pb::KeyType::EcP384 => KeyType::EcP384,
            pb::KeyType::Ed25519 => KeyType::Ed25519,
        };
        Self {
            purpose,
            key_type,
            label: key.label,
            id: key.id,
            bits: key.bits,
            der: key.public_key_der,
            fingerprint: key.fingerprint,
            sensitive: key.sensitive,
            extractable: key.extractable,
            never_extractable: key.never_extractable,
            generated_in_token: key.generated_in_token,
            uris: key.uris,
            capabilities: key.capabilities.into_iter().collect(),
            state: None,
        }
    }

    /// Describes a key of a token; its purpose comes from the configuration.
    pub(super) fn from_token(key: KeyDescription, config: Option<&Config>) -> Self {
        let keys = config.map(|config| &config.keys);
        let purpose = match keys {
            Some(keys) if keys.train.contains(&key.label) => Some("train"),
            Some(keys) if keys.general.contains(&key.label) => Some("general"),
            Some(_) if config.is_some_and(|config| config.audit.key == key.label) => Some("audit"),
            Some(_) if config.and_then(|config| config.tls_key()?.object.as_ref()) == Some(&key.label) => Some("tls"),
            _ => None,
        };
        Self::new(key, purpose)
    }

    pub(super) fn new(key: KeyDescription, purpose: Option<&'static str>) -> Self {
        Self {
            purpose,
            fingerprint: spki_fingerprint(&key.spki_der),
            key_type: key.key_type,
            label: key.label,
            id: key.cka_id,
            bits: key.bits,
            der: key.spki_der,
            sensitive: key.sensitive,
            extractable: key.extractable,
            never_extractable: key.never_extractable,
            generated_in_token: key.generated_in_token,
            uris: key.uris.iter().map(ToString::to_string).collect(),
            capabilities: key
                .capabilities
                .into_iter()
                .map(|(name, method)| (name.to_owned(), method.name().to_owned()))
                .collect(),
            state: None,
        }
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "label": self.label,
            "id": const_hex::encode(&self.id),
            "purpose": self.purpose,
            "type": self.key_type.name(),
            "bits": self.bits,
            "fingerprint": self.fingerprint,
            "public_key_pem": spki_pem(&self.der),
            "public_key_hex_pem": const_hex::encode(spki_pem(&self.der)),
            "public_key_der": const_hex::encode(&self.der),
            "sensitive": self.sensitive,
            "extractable": self.extractable,
            "never_extractable": self.never_extractable,
            "generated_in_token": self.generated_in_token,
            "uris": self.uris,
            "capabilities": self.capabilities,
            "state": self.state.as_ref().map(StateView::json),
        })
    }

    /// Returns the type, of an RSA key with its size.
    pub(super) fn type_name(&self) -> String {
        match self.key_type {
            KeyType::Rsa => format!("RSA-{}", self.bits),
            other => other.name().to_owned(),
        }
    }

    pub(super) fn people(&self) -> String {
        let mut text = fields(&[
            ("Label", self.label.clone()),
            ("Id", const_hex::encode(&self.id)),
            ("Purpose", self.purpose.unwrap_or_default().to_owned()),
            ("Type", self.type_name()),
            ("Fingerprint", self.fingerprint.clone()),
            ("Made in token", yes(self.generated_in_token)),
            ("Sensitive", yes(self.sensitive)),
            ("Extractable", yes(self.extractable)),
            ("Never extractable", yes(self.never_extractable)),
        ]);
        if let Some(state) = &self.state {
            text += &state.people();
        }
        for uri in &self.uris {
            text += &fields(&[("URI", uri.clone())]);
        }
        for (scheme, method) in &self.capabilities {
            text += &format!("  {scheme:<24} {method}\n");
        }
        text + &spki_pem(&self.der)
    }
}
