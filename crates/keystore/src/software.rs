//! RSA private keys from PEM files, as creators of trains have them. A station's keys are never in files.

use openssl::{
    encrypt::Decrypter,
    error::ErrorStack,
    hash::MessageDigest,
    pkey::{PKey, Private},
    rsa::{Padding, Rsa},
};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

/// Why a key file cannot be used. The user must correct the cause; a retry does not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FileKeyError {
    /// The file is not the PEM of an RSA private key.
    #[error("not the PEM of an RSA private key")]
    NotPem,
    /// The key is encrypted, and no passphrase was given.
    #[error("the key is encrypted, and there is no passphrase")]
    NoPassphrase,
    /// The passphrase does not decrypt the key.
    #[error("the passphrase does not open the key")]
    WrongPassphrase,
}

/// An RSA private key from a PEM file.
pub struct FileKey(PKey<Private>);

impl FileKey {
    /// Returns whether a PEM is marked as encrypted.
    #[must_use]
    pub fn is_encrypted(pem: &[u8]) -> bool {
        let says = |text: &[u8]| pem.windows(text.len()).any(|window| window == text);
        says(b"BEGIN ENCRYPTED PRIVATE KEY") || says(b"Proc-Type: 4,ENCRYPTED")
    }

    /// Reads a PEM: PKCS#8 or PKCS#1, encrypted or not.
    ///
    /// # Errors
    /// [`FileKeyError`].
    pub fn from_pem(pem: &[u8], passphrase: Option<&SecretString>) -> Result<Self, FileKeyError> {
        let key = match (Self::is_encrypted(pem), passphrase) {
            // Never without an explicit passphrase: OpenSSL would prompt on the terminal.
            (true, None) => return Err(FileKeyError::NoPassphrase),
            (true, Some(passphrase)) => PKey::private_key_from_pem_passphrase(pem, passphrase.expose_secret().as_bytes())
                .map_err(|_| FileKeyError::WrongPassphrase)?,
            (false, _) => PKey::private_key_from_pem_passphrase(pem, b"").map_err(|_| FileKeyError::NotPem)?,
        };
        if key.rsa().is_err() { Err(FileKeyError::NotPem) } else { Ok(Self(key)) }
    }

    /// Returns the size of the modulus, in bits.
    #[must_use]
    pub fn bits(&self) -> u32 {
        self.0.bits()
    }

    /// Returns the key's numbers.
    pub(crate) fn rsa(&self) -> Result<Rsa<Private>, ErrorStack> {
        self.0.rsa()
    }

    /// Returns the SubjectPublicKeyInfo of the public half, DER.
    ///
    /// # Errors
    /// [`FileKeyError::NotPem`].
    pub fn spki_der(&self) -> Result<Vec<u8>, FileKeyError> {
        self.0.public_key_to_der().map_err(|_| FileKeyError::NotPem)
    }

    /// Unwraps a symmetric key that was wrapped as trains' keys are.
    ///
    /// # Errors
    /// When it was not wrapped for this key.
    pub fn unwrap(&self, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, ErrorStack> {
        unwrap(&self.0, wrapped)
    }
}

/// Unwraps with RSA-OAEP, SHA-512, MGF1-SHA-512 and an empty label (`docs/wire-format.md §3`).
///
/// # Errors
/// When it was not wrapped for this key.
pub fn unwrap(key: &PKey<Private>, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, ErrorStack> {
    let mut decrypter = Decrypter::new(key)?;
    decrypter.set_rsa_padding(Padding::PKCS1_OAEP)?;
    decrypter.set_rsa_oaep_md(MessageDigest::sha512())?;
    decrypter.set_rsa_mgf1_md(MessageDigest::sha512())?;
    let mut key = Zeroizing::new(vec![0; decrypter.decrypt_len(wrapped)?]);
    let len = decrypter.decrypt(wrapped, &mut key)?;
    key.truncate(len);
    Ok(key)
}

#[cfg(test)]
mod tests {
    use openssl::{rsa::Rsa, symm::Cipher};

    use super::*;

    #[test]
    fn pem_of_every_form_is_read_and_an_encrypted_one_needs_its_passphrase() {
        let rsa = Rsa::generate(2048).unwrap();
        let key = PKey::from_rsa(rsa.clone()).unwrap();
        let public = key.public_key_to_der().unwrap();
        let passphrase = SecretString::from("right".to_owned());
        for pem in [key.private_key_to_pem_pkcs8().unwrap(), rsa.private_key_to_pem().unwrap()] {
            assert_eq!(FileKey::from_pem(&pem, None).unwrap().spki_der().unwrap(), public);
        }
        let cipher = Cipher::aes_256_cbc;
        let pkcs8 = key.private_key_to_pem_pkcs8_passphrase(cipher(), b"right").unwrap();
        let pkcs1 = rsa.private_key_to_pem_passphrase(cipher(), b"right").unwrap();
        for pem in [pkcs8, pkcs1] {
            assert_eq!(FileKey::from_pem(&pem, Some(&passphrase)).unwrap().spki_der().unwrap(), public);
            assert_eq!(FileKey::from_pem(&pem, None).err(), Some(FileKeyError::NoPassphrase));
            let wrong = SecretString::from("wrong".to_owned());
            assert_eq!(FileKey::from_pem(&pem, Some(&wrong)).err(), Some(FileKeyError::WrongPassphrase));
        }
        assert_eq!(FileKey::from_pem(b"no key", None).err(), Some(FileKeyError::NotPem));
    }
}
