//! Making tokens and keys, and seeing what a token holds. All calls block, open the module for themselves and close it again.

use std::path::Path;

use secrecy::SecretString;

use super::{KeyInfo, KeystoreError, Purpose, TokenAccess, TokenSelector, pkcs11};

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

/// A key of the token that is no RSA key: nothing here uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherKey {
    /// `CKA_LABEL`.
    pub label: String,
    /// Its type: `EC`, `AES`.
    pub kind: String,
}

/// What keys a token holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenContents {
    /// RSA key pairs, sorted by label.
    pub keys: Vec<TokenKey>,
    /// Other private and secret keys, sorted by label.
    pub others: Vec<OtherKey>,
}

/// Initialises the first uninitialised token of the module (`C_InitToken`, `C_InitPIN`) and answers its serial number. A label
/// has at most 32 bytes. The PINs' lengths are compared with the token's before anything is written.
///
/// # Errors
/// [`KeystoreError::TokenExists`] when a token carries the label, [`KeystoreError::NoFreeSlot`],
/// [`KeystoreError::Label`], [`KeystoreError::PinLength`]; [`KeystoreError::TokenHalfMade`] when the token was initialised
/// and its user PIN could not be set, or one of that label is left so from before: [`set_user_pin`] finishes it.
pub fn init_token(module: &Path, label: &str, so_pin: &SecretString, user_pin: &SecretString) -> Result<String, KeystoreError> {
    pkcs11::init_token(module, label, so_pin, user_pin)
}

/// Sets the user PIN of an initialised token with the SO PIN (`C_InitPIN`), and answers the token's serial number. Finishes a token
/// that is half made; with `replace` also gives a token another user PIN in place of one that is locked or lost.
///
/// # Errors
/// Those of finding the token, [`KeystoreError::UserPinSet`], [`KeystoreError::PinLength`], [`KeystoreError::SoPinAtRisk`],
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

/// Generates an RSA key pair of 2048, 3072 or 4096 bits in the token: private, sensitive, never extractable, to sign and to
/// decrypt, restricted to its purpose's mechanisms where the token can. Takes seconds for 4096 bits.
///
/// # Errors
/// [`KeystoreError::LabelExists`], [`KeystoreError::KeySize`], [`KeystoreError::Label`], and those of the login.
pub fn generate_key(access: &TokenAccess, label: &str, purpose: Purpose, bits: u32) -> Result<GeneratedKey, KeystoreError> {
    pkcs11::generate_key(access, label, purpose, bits)
}

/// All RSA key pairs of the token, sorted by label. A key whose public half cannot be known is left out, with a warning.
///
/// # Errors
/// Those of finding the token and of the login.
pub fn list_keys(access: &TokenAccess) -> Result<Vec<TokenKey>, KeystoreError> {
    Ok(contents(access)?.keys)
}

/// All keys of the token, those that are no RSA keys by label and type only. An RSA key whose public half cannot be known is left
/// out, with a warning.
///
/// # Errors
/// Those of finding the token and of the login.
pub fn contents(access: &TokenAccess) -> Result<TokenContents, KeystoreError> {
    pkcs11::contents(access)
}
