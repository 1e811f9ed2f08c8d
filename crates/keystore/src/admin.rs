//! Creates tokens and keys, and lists what a token holds. All calls block, open the module for themselves and close it again.

use std::path::Path;

use secrecy::SecretString;

use super::{KeyInfo, KeystoreError, Purpose, TokenAccess, TokenSelector, pkcs11};

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

/// Initialises the first uninitialised token of the module (`C_InitToken`, `C_InitPIN`) and returns its serial number. A label
/// has at most 32 bytes. The lengths of the PINs are compared with the token's limits before anything is written.
///
/// # Errors
/// [`KeystoreError::TokenExists`] when a token has the label, [`KeystoreError::NoFreeSlot`],
/// [`KeystoreError::Label`], [`KeystoreError::PinLength`]; [`KeystoreError::TokenHalfMade`] when the token was initialised
/// but its user PIN could not be set, or when an earlier call left a token of that label so: [`set_user_pin`] completes it.
pub fn init_token(module: &Path, label: &str, so_pin: &SecretString, user_pin: &SecretString) -> Result<String, KeystoreError> {
    pkcs11::init_token(module, label, so_pin, user_pin)
}

/// Sets the user PIN of an initialised token with the SO PIN (`C_InitPIN`), and returns the token's serial number. Completes a
/// half-made token; with `replace` it also replaces a user PIN that is locked or lost.
///
/// # Errors
/// Errors of finding the token, [`KeystoreError::UserPinSet`], [`KeystoreError::PinLength`], [`KeystoreError::SoPinAtRisk`],
/// [`KeystoreError::PinRefused`].
pub fn set_user_pin(
    module: &Path,
    token: &TokenSelector,
    so_pin: &SecretString,
    user_pin: &SecretString,
    replace: bool,
) -> Result<String, KeystoreError> {
    pkcs11::set_user_pin(module, token, so_pin, user_pin, replace)
}

/// Generates an RSA key pair of 2048, 3072 or 4096 bits in the token: private, sensitive, never extractable, for signing and
/// decrypting, restricted to its purpose's mechanisms where the token supports this. Takes seconds for 4096 bits.
///
/// # Errors
/// [`KeystoreError::LabelExists`], [`KeystoreError::KeySize`], [`KeystoreError::Label`], and errors of the login.
pub fn generate_key(access: &TokenAccess, label: &str, purpose: Purpose, bits: u32) -> Result<GeneratedKey, KeystoreError> {
    pkcs11::generate_key(access, label, purpose, bits)
}

/// Returns all RSA key pairs of the token, sorted by label. A key whose public half cannot be determined is omitted with a warning.
///
/// # Errors
/// Errors of finding the token and of the login.
pub fn list_keys(access: &TokenAccess) -> Result<Vec<TokenKey>, KeystoreError> {
    Ok(contents(access)?.keys)
}

/// Returns all keys of the token; keys other than RSA keys by label and type only. An RSA key whose public half cannot be
/// determined is omitted with a warning.
///
/// # Errors
/// Errors of finding the token and of the login.
pub fn contents(access: &TokenAccess) -> Result<TokenContents, KeystoreError> {
    pkcs11::contents(access)
}
