//! Verifies RSA signatures, PKCS#1 v1.5 and PSS (`docs/wire-format.md §3`, `§6`).

use openssl::{
    error::ErrorStack,
    md::{Md, MdRef},
    pkey::Public,
    pkey_ctx::PkeyCtx,
    rsa::Padding,
    sha::sha512,
    sign::RsaPssSaltlen,
};

use super::PublicKey;
use crate::digest::Digest;

/// The signature does not match key, scheme and digest. It contains no further detail on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct BadSignature;

/// Hash algorithm of a signed digest, and of MGF1 in PSS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashAlgorithm {
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
    /// SHA-512
    Sha512,
}

impl HashAlgorithm {
    /// Returns the length of a digest, in bytes.
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    fn md(self) -> &'static MdRef {
        match self {
            Self::Sha256 => Md::sha256(),
            Self::Sha384 => Md::sha384(),
            Self::Sha512 => Md::sha512(),
        }
    }
}

impl PublicKey {
    /// Returns the longest PSS salt that fits this key, in bytes. train_lib signs with it, and its older versions require it
    /// (190, 318, 446 for SHA-512 and 2048, 3072, 4096 bits).
    pub fn max_pss_salt(&self, hash: HashAlgorithm) -> usize {
        // The encoded message is one bit shorter than the modulus; keys of 2048 bits and more always have this space.
        (self.bits() as usize - 1).div_ceil(8) - hash.digest_len() - 2
    }

    /// Verifies PKCS#1 v1.5 over SHA-512 of `message`. Creators and builders sign digests this way, so the signed data is hashed
    /// twice.
    pub fn verify_pkcs1_sha512_of(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        self.verify_pkcs1_prehashed(HashAlgorithm::Sha512, &sha512(message), signature)
    }

    /// Verifies PKCS#1 v1.5 over a digest made with `hash`.
    pub fn verify_pkcs1_prehashed(&self, hash: HashAlgorithm, digest: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        self.verify(hash, digest, signature, |context| context.set_rsa_padding(Padding::PKCS1))
    }

    /// Verifies a station's signature: PSS over a SHA-512 digest. Any salt length is accepted, as current peers do.
    pub fn verify_pss_any_salt(&self, digest: &Digest, signature: &[u8]) -> Result<(), BadSignature> {
        // For a verifier OpenSSL treats its "maximum" (-2) as "any length, as the signature states".
        self.verify_pss(HashAlgorithm::Sha512, digest.as_bytes(), RsaPssSaltlen::MAXIMUM_LENGTH, signature)
    }

    /// Verifies PSS over a digest, with a salt of exactly `salt_len` bytes. Used to check signatures of this station's own token.
    pub fn verify_pss_exact(
        &self,
        hash: HashAlgorithm,
        digest: &[u8],
        salt_len: usize,
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        let salt_len = i32::try_from(salt_len).map_err(|_| BadSignature)?;
        self.verify_pss(hash, digest, RsaPssSaltlen::custom(salt_len), signature)
    }

    fn verify_pss(&self, hash: HashAlgorithm, digest: &[u8], salt: RsaPssSaltlen, signature: &[u8]) -> Result<(), BadSignature> {
        self.verify(hash, digest, signature, |context| {
            context.set_rsa_padding(Padding::PKCS1_PSS)?;
            context.set_rsa_mgf1_md(hash.md())?;
            context.set_rsa_pss_saltlen(salt)
        })
    }

    fn verify(
        &self,
        hash: HashAlgorithm,
        digest: &[u8],
        signature: &[u8],
        scheme: impl FnOnce(&mut PkeyCtx<Public>) -> Result<(), ErrorStack>,
    ) -> Result<(), BadSignature> {
        if digest.len() != hash.digest_len() || signature.len() != self.size() {
            return Err(BadSignature);
        }
        let verify = || {
            let mut context = PkeyCtx::new(&self.pkey)?;
            context.verify_init()?;
            scheme(&mut context)?;
            context.set_signature_md(hash.md())?;
            context.verify(digest, signature)
        };
        match verify() {
            Ok(true) => Ok(()),
            // OpenSSL reports some wrong signatures as errors; the caller must not distinguish them.
            Ok(false) | Err(_) => Err(BadSignature),
        }
    }
}
