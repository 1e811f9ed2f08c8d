//! Verifies signatures of the token before they are returned: a token that miscomputes (a glitch, a wrong key behind the handle)
//! must not release a faulty signature, from which an RSA key can be factored.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use openssl::{
    error::ErrorStack,
    md::{Md, MdRef},
    pkey::{PKey, Public},
    pkey_ctx::PkeyCtx,
    rsa::Padding,
    sign::{RsaPssSaltlen, Verifier},
};

use super::{
    KeyType,
    key::KeyId,
    scheme::{Hash, OaepScheme, SignScheme},
};

/// Returns whether `signature` is by `key` over `signed`, the digest or message that the scheme signs. The key must have the scheme's
/// type, and PSS salts exactly the scheme's length.
pub(super) fn signature_holds(key: &PKey<Public>, scheme: SignScheme, signed: &[u8], signature: &[u8]) -> bool {
    KeyType::of(key) == Some(scheme.key_type()) && check(key, scheme, signed, signature).unwrap_or(false)
}

fn check(key: &PKey<Public>, scheme: SignScheme, signed: &[u8], signature: &[u8]) -> Result<bool, ErrorStack> {
    let Some(hash) = scheme.hash() else {
        return Verifier::new_without_digest(key)?.verify_oneshot(signature, signed);
    };
    let mut context = PkeyCtx::new(key)?;
    context.verify_init()?;
    match scheme {
        SignScheme::Pkcs1(_) => context.set_rsa_padding(Padding::PKCS1)?,
        SignScheme::Pss(_) | SignScheme::PssSha512MaxSalt => {
            let Some(salt) = scheme.salt_len(key.bits()) else {
                return Ok(false);
            };
            let Ok(salt) = i32::try_from(salt) else {
                return Ok(false);
            };
            context.set_rsa_padding(Padding::PKCS1_PSS)?;
            context.set_rsa_pss_saltlen(RsaPssSaltlen::custom(salt))?;
            context.set_rsa_mgf1_md(md(hash))?;
        }
        SignScheme::EcdsaP256 | SignScheme::EcdsaP384 | SignScheme::Ed25519 => {}
    }
    context.set_signature_md(md(hash))?;
    // A signature that does not fit leaves errors on OpenSSL's queue; taking the error here empties it.
    context.verify(signed, signature)
}

/// Public keys by identity, so that each is parsed once.
#[derive(Default)]
pub(super) struct PublicKeys(Mutex<BTreeMap<KeyId, PKey<Public>>>);

impl PublicKeys {
    /// As [`signature_holds`], with a public key given as SubjectPublicKeyInfo in DER.
    pub(super) fn signature_holds(&self, id: KeyId, spki: &[u8], scheme: SignScheme, signed: &[u8], signature: &[u8]) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        let key = match known {
            Some(key) => key,
            None => {
                // Another process sent the bytes: they must be those of the identity.
                let Some(key) = PKey::public_key_from_der(spki).ok().filter(|_| KeyId::of_spki(spki) == id) else { return false };
                self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, key.clone());
                key
            }
        };
        signature_holds(&key, scheme, signed, signature)
    }
}

/// Wraps `secret` for `key`, as a train's sender does: the trial at the start needs a ciphertext to decrypt.
pub(super) fn wrap(key: &PKey<Public>, scheme: OaepScheme, secret: &[u8]) -> Result<Vec<u8>, ErrorStack> {
    let mut context = PkeyCtx::new(key)?;
    context.encrypt_init()?;
    context.set_rsa_padding(Padding::PKCS1_OAEP)?;
    context.set_rsa_oaep_md(md(scheme.hash()))?;
    context.set_rsa_mgf1_md(md(scheme.hash()))?;
    let mut wrapped = Vec::new();
    context.encrypt_to_vec(secret, &mut wrapped)?;
    Ok(wrapped)
}

fn md(hash: Hash) -> &'static MdRef {
    match hash {
        Hash::Sha256 => Md::sha256(),
        Hash::Sha384 => Md::sha384(),
        Hash::Sha512 => Md::sha512(),
    }
}
