//! Descriptions of keys: as the service uses them, and as the token lists them.

use std::collections::BTreeMap;

/// Purpose of a private key. A key has exactly one purpose, set by the configuration, not by the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// The station's key on a train's route: used by the protocol only.
    Train,
    /// A key for all other operations.
    General,
    /// The key that signs the checkpoints of the audit log, and nothing else.
    Audit,
}

impl Purpose {
    /// Returns the purpose's name: `train`, `general`, `audit`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::General => "general",
            Self::Audit => "audit",
        }
    }
}

/// How a scheme is carried out with a key on this token, found by a trial operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// The token performs the whole operation.
    Native,
    /// The token performs raw RSA (`CKM_RSA_X_509`); this process removes the padding in constant time.
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

/// An RSA key pair whose private half is in the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    /// `CKA_LABEL`, unique among the configured keys.
    pub label: String,
    /// `CKA_ID` of the private key.
    pub id: Vec<u8>,
    /// The key's purpose according to the configuration.
    pub purpose: Purpose,
    /// Size of the modulus in bits.
    pub bits: u32,
    /// SubjectPublicKeyInfo, DER.
    pub spki_der: Vec<u8>,
    /// `CKA_SENSITIVE`: the private key cannot be read in plain text.
    pub sensitive: bool,
    /// `CKA_EXTRACTABLE`: the private key can be exported in wrapped form.
    pub extractable: bool,
    /// `CKA_NEVER_EXTRACTABLE`: the private key has never been extractable since its generation.
    pub never_extractable: bool,
    /// `CKA_LOCAL`: generated in this token, not imported.
    pub generated_in_token: bool,
    /// Capability by scheme name (`RSA_OAEP_SHA512`, …); empty when the key has not been probed.
    pub capabilities: BTreeMap<&'static str, Capability>,
}

/// A key that has just been generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedKey {
    /// The key. It has not been probed, so it has no capabilities.
    pub info: KeyInfo,
    /// Whether the token accepted `CKA_ALLOWED_MECHANISMS`. If not, nothing in the token restricts the key to its purpose.
    pub mechanisms_restricted: bool,
}

/// An RSA key pair as the token describes it, whether configured or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenKey {
    /// `CKA_LABEL`.
    pub label: String,
    /// `CKA_ID`.
    pub id: Vec<u8>,
    /// Size of the modulus in bits.
    pub bits: u32,
    /// SubjectPublicKeyInfo, DER.
    pub spki_der: Vec<u8>,
    /// `CKA_SENSITIVE`.
    pub sensitive: bool,
    /// `CKA_EXTRACTABLE`.
    pub extractable: bool,
    /// `CKA_NEVER_EXTRACTABLE`.
    pub never_extractable: bool,
    /// `CKA_LOCAL`.
    pub generated_in_token: bool,
}

/// A key in the token that is not an RSA key; this service does not use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherKey {
    /// `CKA_LABEL`.
    pub label: String,
    /// Key type: `EC`, `AES`.
    pub kind: String,
}

/// The keys that a token holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenContents {
    /// RSA key pairs, sorted by label.
    pub keys: Vec<TokenKey>,
    /// Other private and secret keys, sorted by label.
    pub others: Vec<OtherKey>,
}
