//! Creates tokens and keys, and lists what a token holds. All calls block, open the module for themselves and close it again.

use std::path::Path;

use secrecy::SecretString;

pub use crate::key::{GeneratedKey, OtherKey, TokenContents, TokenKey};
use crate::{KeystoreError, Purpose, TokenAccess, TokenSelector, pkcs11};

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
