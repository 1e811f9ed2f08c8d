//! Families of keys, as `CKA_KEY_TYPE` distinguishes them: a curve is an attribute of its own.

use cryptoki::object::{AttributeType, KeyType as TokenKeyType};

use crate::KeyType;

/// A family of which some or all keys are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Rsa,
    /// `CKK_EC`: keys on curves in short Weierstrass form.
    Curve,
    /// `CKK_EC_EDWARDS`.
    Edwards,
}

impl Family {
    const ALL: [Family; 3] = [Family::Rsa, Family::Curve, Family::Edwards];

    pub(super) fn of(key_type: TokenKeyType) -> Option<Family> {
        Self::ALL.into_iter().find(|family| family.key_type() == key_type)
    }

    pub(super) fn key_type(self) -> TokenKeyType {
        match self {
            Family::Rsa => TokenKeyType::RSA,
            Family::Curve => TokenKeyType::EC,
            Family::Edwards => TokenKeyType::EC_EDWARDS,
        }
    }

    /// Returns the attributes that make a public key.
    pub(super) fn public_attributes(self) -> [AttributeType; 2] {
        match self {
            Family::Rsa => [AttributeType::Modulus, AttributeType::PublicExponent],
            Family::Curve | Family::Edwards => [AttributeType::EcParams, AttributeType::EcPoint],
        }
    }
}

impl From<KeyType> for Family {
    fn from(key_type: KeyType) -> Family {
        match key_type {
            KeyType::Rsa => Family::Rsa,
            KeyType::EcP256 | KeyType::EcP384 => Family::Curve,
            KeyType::Ed25519 => Family::Edwards,
        }
    }
}
