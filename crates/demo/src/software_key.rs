//! RSA keys in software, as creators and builders have them. A station's keys are never in software.

use openssl::{
    hash::MessageDigest,
    pkey::{PKey, Private},
    rsa::Rsa,
    sign::Signer,
};
use stationmaster_keystore::software;
use stationmaster_train::{config::HexText, envelope::EnvelopeKey};
use zeroize::Zeroizing;

use super::DemoError;

const BITS: u32 = 2048;

/// An RSA-2048 key pair.
pub(super) struct SoftwareKey(PKey<Private>);

impl SoftwareKey {
    pub(crate) fn generate() -> Result<Self, DemoError> {
        Rsa::generate(BITS).and_then(PKey::from_rsa).map(Self).map_err(DemoError::crypto)
    }

    /// PKCS#1 v1.5 over SHA-512 of `message`: how creators and builders sign digests.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, DemoError> {
        let mut signer = Signer::new(MessageDigest::sha512(), &self.0).map_err(DemoError::crypto)?;
        signer.sign_oneshot_to_vec(message).map_err(DemoError::crypto)
    }

    /// Unwraps an envelope key: RSA-OAEP with SHA-512.
    pub(crate) fn unwrap(&self, wrapped: &[u8]) -> Result<EnvelopeKey, DemoError> {
        let key = software::unwrap(&self.0, wrapped).map_err(DemoError::crypto)?;
        EnvelopeKey::from_unwrapped(&key).map_err(DemoError::crypto)
    }

    /// The public half as the desktop application registers it: hex of a PKCS#1 PEM.
    pub(crate) fn pkcs1_hex_pem(&self) -> Result<HexText, DemoError> {
        let pem = self.0.rsa().and_then(|rsa| rsa.public_key_to_pem_pkcs1()).map_err(DemoError::crypto)?;
        Ok(HexText::from_bytes(&pem))
    }

    /// The public half as builders state it: hex of a SubjectPublicKeyInfo PEM.
    pub(crate) fn spki_hex_pem(&self) -> Result<HexText, DemoError> {
        Ok(HexText::from_bytes(&self.0.public_key_to_pem().map_err(DemoError::crypto)?))
    }

    /// The private half, PEM.
    pub(crate) fn private_pem(&self) -> Result<Zeroizing<Vec<u8>>, DemoError> {
        self.0.private_key_to_pem_pkcs8().map(Zeroizing::new).map_err(DemoError::crypto)
    }
}

#[cfg(test)]
mod tests {
    use stationmaster_train::keys::PublicKey;

    use super::*;

    #[test]
    fn it_signs_and_unwraps_as_trains_want_it() {
        let key = SoftwareKey::generate().unwrap();
        let public = PublicKey::from_hex_pem(&key.pkcs1_hex_pem().unwrap()).unwrap();
        assert_eq!(public, PublicKey::from_hex_pem(&key.spki_hex_pem().unwrap()).unwrap());
        public.verify_pkcs1_sha512_of(b"x", &key.sign(b"x").unwrap()).unwrap();
        let wrapped = public.wrap(&EnvelopeKey::random().unwrap()).unwrap();
        key.unwrap(&wrapped).unwrap();
        assert!(key.unwrap(&wrapped[1..]).is_err());
    }
}
