//! Functions that are private without the feature `fuzzing`, for `fuzz/` and a bench.

use zeroize::Zeroizing;

use crate::{KeystoreError, OaepScheme, pkcs11};

/// Removes the OAEP padding from raw RSA output, as the keystore does for a token without OAEP of its own.
///
/// # Errors
/// [`KeystoreError::UnwrapFailed`], whatever the defect.
pub fn unpad_oaep(block: Zeroizing<Vec<u8>>, scheme: OaepScheme) -> Result<Zeroizing<Vec<u8>>, KeystoreError> {
    pkcs11::unpad(block, scheme).map_err(|_| KeystoreError::UnwrapFailed)
}
