//! Identity, usage and description of keys.

use std::{collections::BTreeMap, fmt};

use openssl::sha::sha256;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{KeyType, KeystoreError, OaepScheme, Pkcs11Uri, SignScheme};

/// Identity of a key: the SHA-256 of its SubjectPublicKeyInfo in DER. It is the same in every token that has the key, and
/// survives a change of the label.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyId(#[serde(with = "const_hex")] [u8; 32]);

impl KeyId {
    /// Returns the id of a public key, given as SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn of_spki(der: &[u8]) -> Self {
        Self(sha256(der))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "sha256:{}", const_hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "KeyId({self})")
    }
}

/// The schemes that a key is meant for. A new key is restricted to them where the token supports this. What a caller may do
/// with a key is not decided here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUsage {
    /// Schemes of signatures.
    pub sign: &'static [SignScheme],
    /// Schemes of wrapped keys. If there is none, the key never decrypts.
    pub unwrap: &'static [OaepScheme],
}

impl KeyUsage {
    /// Every scheme.
    pub const ALL: Self = Self { sign: &SignScheme::ALL, unwrap: &OaepScheme::ALL };

    /// Returns whether a key of this type is meant to decrypt.
    pub(crate) fn decrypts(&self, key_type: KeyType) -> bool {
        key_type == KeyType::Rsa && !self.unwrap.is_empty()
    }

    /// Returns whether a key of this type has a scheme to sign with.
    #[must_use]
    pub fn suits(&self, key_type: KeyType) -> bool {
        self.sign.iter().any(|scheme| scheme.key_type() == key_type)
    }

    /// Returns whether the key is meant to make PKCS#1 v1.5 signatures.
    pub(crate) fn signs_pkcs1(&self) -> bool {
        self.sign.iter().any(|scheme| matches!(scheme, SignScheme::Pkcs1(_)))
    }
}

/// How a scheme is carried out with a key on this token, found by a trial operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Capability {
    /// The token performs the whole operation.
    Native,
    /// The token performs raw RSA (`CKM_RSA_X_509`); this process removes the padding of a wrapped key, in constant time, or encodes
    /// the block of a signature.
    Raw,
    /// The scheme is not available, or the configuration does not allow the way in which it would be.
    No,
}

impl Capability {
    /// Returns the capability's name in the gRPC contract: `native`, `raw` or `no`.
    pub fn name(self) -> &'static str {
        match self {
            Capability::Native => "native",
            Capability::Raw => "raw",
            Capability::No => "no",
        }
    }
}

/// A key pair of a [`KeyType`] whose private half is in the token, whether configured or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyDescription {
    /// The key's identity.
    pub id: KeyId,
    /// `CKA_LABEL`, the key's name; unique among the configured keys.
    pub label: String,
    /// `CKA_ID` of the private key.
    #[serde(with = "const_hex")]
    pub cka_id: Vec<u8>,
    /// The type of the key.
    pub key_type: KeyType,
    /// Size in bits: of an RSA key's modulus; of other keys 256, 384 or 255, by their type.
    pub bits: u32,
    /// SubjectPublicKeyInfo, DER.
    #[serde(with = "const_hex")]
    pub spki_der: Vec<u8>,
    /// `CKA_SENSITIVE`: the private key cannot be read in plain text.
    pub sensitive: bool,
    /// `CKA_EXTRACTABLE`: the private key can be exported in wrapped form.
    pub extractable: bool,
    /// `CKA_NEVER_EXTRACTABLE`: the private key has never been extractable since its generation.
    pub never_extractable: bool,
    /// `CKA_LOCAL`: generated in this token, not imported.
    pub generated_in_token: bool,
    /// Where the key is: a PKCS#11 URI (RFC 7512) for each token that has it.
    pub uris: Vec<Pkcs11Uri>,
    /// Capability by name of the schemes for keys of this type (`RSA_OAEP_SHA512`, …); empty when the key has not been probed.
    #[serde(deserialize_with = "capabilities")]
    pub capabilities: BTreeMap<SchemeName, Capability>,
}

/// The name of a scheme, as in the gRPC contract.
type SchemeName = &'static str;

/// Reads capabilities of the schemes that this build knows.
fn capabilities<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<SchemeName, Capability>, D::Error> {
    let found = BTreeMap::<String, Capability>::deserialize(from)?;
    let names = SignScheme::ALL.iter().map(|scheme| scheme.name()).chain(OaepScheme::ALL.iter().map(|scheme| scheme.name()));
    Ok(names.filter_map(|name| Some((name, *found.get(name)?))).collect())
}

impl KeyDescription {
    /// Checks that the key is of the type that a scheme needs.
    ///
    /// # Errors
    /// [`KeystoreError::SchemeOfOtherType`].
    pub fn check_type(&self, scheme: &'static str, needed: KeyType) -> Result<(), KeystoreError> {
        let key_type = self.key_type;
        if key_type == needed {
            return Ok(());
        }
        Err(KeystoreError::SchemeOfOtherType { label: self.label.clone(), scheme, needed, key_type })
    }
}

/// A key that has just been generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedKey {
    /// The key. It has not been probed, so it has no capabilities.
    pub description: KeyDescription,
    /// Whether the token accepted `CKA_ALLOWED_MECHANISMS`. If not, nothing in the token restricts the key to its purpose.
    pub mechanisms_restricted: bool,
}

/// A key in the token that this service does not use: it is of no [`KeyType`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherKey {
    /// `CKA_LABEL`.
    pub label: String,
    /// Key type: `EC secp256k1`, `AES`.
    pub kind: String,
}

/// The keys that a token holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenContents {
    /// Key pairs of every [`KeyType`], sorted by label.
    pub keys: Vec<KeyDescription>,
    /// Other private and secret keys, sorted by label.
    pub others: Vec<OtherKey>,
}

/// A key, and the number of objects in the token that belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyObjects {
    /// The key. It has not been probed, so it has no capabilities.
    pub description: KeyDescription,
    /// Public keys (`CKO_PUBLIC_KEY`).
    pub public: usize,
    /// Certificates (`CKO_CERTIFICATE`).
    pub certificates: usize,
}

/// What was destroyed with a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DestroyedKey {
    /// Public keys.
    pub public: usize,
    /// Certificates.
    pub certificates: usize,
    /// Public keys and certificates that the token did not destroy. They contain nothing secret.
    pub left: usize,
}
