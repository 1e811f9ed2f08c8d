//! Single operations on the token with one key: `C_SignInit` + `C_Sign`, or `C_DecryptInit` + `C_Decrypt`. (The wrapper calls
//! `C_Sign` and `C_Decrypt` twice, the first time without a buffer to request the length, which uses no key.)

use cryptoki::{
    error::Error,
    mechanism::{
        Mechanism, MechanismType,
        eddsa::{EddsaParams, EddsaSignatureScheme},
        rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource, PkcsPssParams},
    },
    object::ObjectHandle,
    session::Session,
};
use openssl::{bn::BigNum, ecdsa::EcdsaSig, error::ErrorStack};
use zeroize::Zeroizing;

use crate::{Hash, OaepScheme, SignScheme};

/// Signs a digest of the scheme's length, or the message where the scheme has no hash function. Returns `None` when the key is too small
/// for the scheme.
pub(super) fn sign(
    session: &Session,
    key: ObjectHandle,
    bits: u32,
    scheme: SignScheme,
    signed: &[u8],
) -> Option<Result<Vec<u8>, Error>> {
    Some(match scheme {
        SignScheme::Pkcs1(hash) => session.sign(&Mechanism::RsaPkcs, key, &[digest_info(hash), signed].concat()),
        SignScheme::Pss(_) | SignScheme::PssSha512MaxSalt => {
            let (hash_alg, mgf) = numbers(scheme.hash()?);
            let s_len = scheme.salt_len(bits)?.try_into().ok()?;
            session.sign(&Mechanism::RsaPkcsPss(PkcsPssParams { hash_alg, mgf, s_len }), key, signed)
        }
        SignScheme::EcdsaP256 | SignScheme::EcdsaP384 => session.sign(&Mechanism::Ecdsa, key, signed).map(in_der),
        SignScheme::Ed25519 => session.sign(&Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure)), key, signed),
    })
}

/// Signs a block that [`pss`](super::pss) encoded, with raw RSA. The token would do this with any block, also with a wrapped key, whose
/// signature is its decryption: no caller chooses the block.
pub(super) fn sign_raw(session: &Session, key: ObjectHandle, block: &[u8]) -> Result<Vec<u8>, Error> {
    session.sign(&Mechanism::RsaX509, key, block)
}

/// Converts an ECDSA signature from the form of PKCS#11 (r and s of equal length, §6.3.1 of version 3.0) to ASN.1 DER. A signature that
/// is not in that form is returned as it is: its verification then fails.
pub(crate) fn in_der(signature: Vec<u8>) -> Vec<u8> {
    let converted = || -> Result<Vec<u8>, ErrorStack> {
        let (r, s) = signature.split_at(signature.len() / 2);
        EcdsaSig::from_private_components(BigNum::from_slice(r)?, BigNum::from_slice(s)?)?.to_der()
    };
    converted().unwrap_or(signature)
}

/// Decrypts with the token's own OAEP.
pub(super) fn decrypt_oaep(
    session: &Session,
    key: ObjectHandle,
    scheme: OaepScheme,
    wrapped: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let (hash_alg, mgf) = numbers(scheme.hash());
    let mechanism = Mechanism::RsaPkcsOaep(PkcsOaepParams::new(hash_alg, mgf, PkcsOaepSource::empty()));
    session.decrypt(&mechanism, key, wrapped).map(Zeroizing::new)
}

/// Decrypts with raw RSA. The result could open or sign anything: it is passed to `oaep::unpad` and nowhere else.
pub(super) fn decrypt_raw(session: &Session, key: ObjectHandle, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    session.decrypt(&Mechanism::RsaX509, key, wrapped).map(Zeroizing::new)
}

fn numbers(hash: Hash) -> (MechanismType, PkcsMgfType) {
    match hash {
        Hash::Sha256 => (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256),
        Hash::Sha384 => (MechanismType::SHA384, PkcsMgfType::MGF1_SHA384),
        Hash::Sha512 => (MechanismType::SHA512, PkcsMgfType::MGF1_SHA512),
    }
}

/// Returns the DER of DigestInfo before the digest itself (RFC 8017 §9.2, note 1).
fn digest_info(hash: Hash) -> &'static [u8] {
    match hash {
        Hash::Sha256 => b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20",
        Hash::Sha384 => b"\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30",
        Hash::Sha512 => b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40",
    }
}
