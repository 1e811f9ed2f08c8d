//! The station's keys: what the token shows of a key, and the purpose that the configuration gives it.

use std::{collections::BTreeMap, sync::Arc};

use stationmaster_keystore::{Hash, KeyDescription, KeyId, KeyType, KeyUsage, OaepScheme, SignScheme};

use crate::authz::Purpose;

/// A configured key of the station.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StationKey {
    /// What the token shows of it.
    pub description: KeyDescription,
    /// Its purpose according to the configuration.
    pub purpose: Purpose,
}

impl StationKey {
    /// Returns the key's identity.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.description.id
    }

    /// Returns the key's name in the configuration, in grants, on the wire and in records.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.description.label
    }
}

/// The schemes of the audit's checkpoints, one for each type of key. ECDSA is with P-256 only: signed notes hash with SHA-256.
const CHECKPOINT_SCHEMES: [SignScheme; 3] = [SignScheme::Pss(Hash::Sha256), SignScheme::EcdsaP256, SignScheme::Ed25519];

/// Returns the scheme with which a key of this type signs the audit's checkpoints; `None` if there is none.
#[must_use]
pub fn checkpoint_scheme(key_type: KeyType) -> Option<SignScheme> {
    CHECKPOINT_SCHEMES.into_iter().find(|scheme| scheme.key_type() == key_type)
}

/// The schemes of handshakes: those of TLS 1.3 (RFC 8446 §4.2.3).
const TLS_SCHEMES: &[SignScheme] = &[
    SignScheme::Pss(Hash::Sha256),
    SignScheme::Pss(Hash::Sha384),
    SignScheme::Pss(Hash::Sha512),
    SignScheme::EcdsaP256,
    SignScheme::EcdsaP384,
    SignScheme::Ed25519,
];

/// Returns the schemes that a key of a purpose is used with.
#[must_use]
pub fn key_usage(purpose: Purpose) -> KeyUsage {
    match purpose {
        Purpose::Train => KeyUsage { sign: &[SignScheme::PssSha512MaxSalt], unwrap: &[OaepScheme::Sha512] },
        Purpose::General => KeyUsage::ALL,
        Purpose::Audit => KeyUsage { sign: &CHECKPOINT_SCHEMES, unwrap: &[] },
        Purpose::Tls => KeyUsage { sign: TLS_SCHEMES, unwrap: &[] },
    }
}

/// The purposes of the configured keys, by label.
#[derive(Clone, Debug, Default)]
pub struct KeyPurposes(Arc<BTreeMap<String, Purpose>>);

impl KeyPurposes {
    /// Returns the purpose of the key with this label; `None` when it is not configured.
    #[must_use]
    pub fn get(&self, label: &str) -> Option<Purpose> {
        self.0.get(label).copied()
    }

    /// Returns the label of the key of the service's TLS certificate, if it is in a token.
    pub(in crate::protocol) fn tls(&self) -> Option<&str> {
        self.iter().find_map(|(label, purpose)| (purpose == Purpose::Tls).then_some(label))
    }

    /// Returns the labels and purposes.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Purpose)> {
        self.0.iter().map(|(label, purpose)| (label.as_str(), *purpose))
    }

    /// Returns the key with its purpose; `None` when it is not configured.
    pub(in crate::protocol) fn key(&self, description: KeyDescription) -> Option<StationKey> {
        Some(StationKey { purpose: self.get(&description.label)?, description })
    }
}

impl FromIterator<(String, Purpose)> for KeyPurposes {
    fn from_iter<T: IntoIterator<Item = (String, Purpose)>>(keys: T) -> Self {
        Self(Arc::new(keys.into_iter().collect()))
    }
}
