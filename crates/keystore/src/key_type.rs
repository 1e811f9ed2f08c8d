//! Types of key pairs that the keystore uses.

use std::fmt;

use openssl::{
    nid::Nid,
    pkey::{Id, PKeyRef, Public},
};
use serde::{Deserialize, Serialize};

/// The type of a key pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyType {
    /// RSA.
    Rsa,
    /// An elliptic curve key on NIST P-256 (secp256r1).
    EcP256,
    /// An elliptic curve key on NIST P-384 (secp384r1).
    EcP384,
    /// Ed25519 (RFC 8032).
    Ed25519,
}

impl KeyType {
    /// All types.
    pub const ALL: [KeyType; 4] = [KeyType::Rsa, KeyType::EcP256, KeyType::EcP384, KeyType::Ed25519];

    /// Returns the name that users see: `RSA`, `EC P-256`, `EC P-384` or `Ed25519`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            KeyType::Rsa => "RSA",
            KeyType::EcP256 => "EC P-256",
            KeyType::EcP384 => "EC P-384",
            KeyType::Ed25519 => "Ed25519",
        }
    }

    /// Returns the type of a public key; `None` if it is none of them.
    pub(crate) fn of(key: &PKeyRef<Public>) -> Option<KeyType> {
        match key.id() {
            Id::RSA => Some(KeyType::Rsa),
            Id::ED25519 => Some(KeyType::Ed25519),
            Id::EC => match key.ec_key().ok()?.group().curve_name()? {
                Nid::X9_62_PRIME256V1 => Some(KeyType::EcP256),
                Nid::SECP384R1 => Some(KeyType::EcP384),
                _ => None,
            },
            _ => None,
        }
    }

    /// Returns the size in bits of a public key of this type.
    pub(crate) fn bits(self, key: &PKeyRef<Public>) -> u32 {
        match self {
            KeyType::Rsa => key.bits(),
            KeyType::EcP256 => 256,
            KeyType::EcP384 => 384,
            // OpenSSL reports 253, the size of the group's order.
            KeyType::Ed25519 => 255,
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// The type of a key pair to be generated, with its size where the type has several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewKey {
    /// An RSA key.
    Rsa {
        /// Size of the modulus in bits: 2048, 3072 or 4096.
        bits: u32,
    },
    /// An elliptic curve key on NIST P-256.
    EcP256,
    /// An elliptic curve key on NIST P-384.
    EcP384,
    /// An Ed25519 key.
    Ed25519,
}

impl NewKey {
    /// Returns the type.
    #[must_use]
    pub fn key_type(self) -> KeyType {
        match self {
            NewKey::Rsa { .. } => KeyType::Rsa,
            NewKey::EcP256 => KeyType::EcP256,
            NewKey::EcP384 => KeyType::EcP384,
            NewKey::Ed25519 => KeyType::Ed25519,
        }
    }

    /// Returns the size in bits.
    #[must_use]
    pub fn bits(self) -> u32 {
        match self {
            NewKey::Rsa { bits } => bits,
            NewKey::EcP256 => 256,
            NewKey::EcP384 => 384,
            NewKey::Ed25519 => 255,
        }
    }
}
