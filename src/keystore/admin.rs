//! Making tokens and keys, and seeing what a token holds. All calls block, open the module for themselves and close it again.

use std::path::Path;

use secrecy::SecretString;

use super::pkcs11;
use super::{KeyInfo, KeystoreError, Purpose, TokenAccess};

/// A key that has just been generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedKey {
    /// The key; nothing has been tried with it, so there are no capabilities.
    pub info: KeyInfo,
    /// Whether the token took `CKA_ALLOWED_MECHANISMS`. If not, nothing in the token keeps the key to its purpose.
    pub mechanisms_restricted: bool,
}

/// An RSA key pair as the token shows it, whether configured or not.
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

/// Initialises the first uninitialised token of the module (`C_InitToken`, `C_InitPIN`) and answers its serial number. A label
/// has at most 32 bytes.
///
/// # Errors
/// [`KeystoreError::TokenExists`] when a token carries the label, [`KeystoreError::NoFreeSlot`],
/// [`KeystoreError::LabelLength`], [`KeystoreError::PinRejected`] when a PIN does not meet the token's rules.
pub fn init_token(module: &Path, label: &str, so_pin: &SecretString, user_pin: &SecretString) -> Result<String, KeystoreError> {
    pkcs11::init_token(module, label, so_pin, user_pin)
}

/// Generates an RSA key pair of 2048, 3072 or 4096 bits in the token: private, sensitive, never extractable, to sign and to
/// decrypt, restricted to its purpose's mechanisms where the token can. Takes seconds for 4096 bits.
///
/// # Errors
/// [`KeystoreError::LabelExists`], [`KeystoreError::KeySize`], [`KeystoreError::LabelLength`], and those of the login.
pub fn generate_key(access: &TokenAccess, label: &str, purpose: Purpose, bits: u32) -> Result<GeneratedKey, KeystoreError> {
    pkcs11::generate_key(access, label, purpose, bits)
}

/// All RSA key pairs of the token, sorted by label. A key whose public half cannot be known is left out, with a warning.
///
/// # Errors
/// Those of finding the token and of the login.
pub fn list_keys(access: &TokenAccess) -> Result<Vec<TokenKey>, KeystoreError> {
    pkcs11::list_keys(access)
}
