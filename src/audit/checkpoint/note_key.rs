//! Keys of signed notes (C2SP signed-note): the id that a signature line names, and the verification of signatures.
//!
//! | key | type | key id: the first four bytes of SHA-256 over | signature |
//! |---|---|---|---|
//! | Ed25519 | 0x01 | name, newline, 0x01, the 32 bytes of the key | Ed25519 over the text |
//! | ECDSA, P-256 | 0x02 | SubjectPublicKeyInfo | ASN.1 DER, over the text's SHA-256 |
//! | RSA | 0xff | name, newline, 0xff, `stationmaster-rsa-pss-sha256`, SubjectPublicKeyInfo | RSASSA-PSS, SHA-256, salt of 32 bytes |
//!
//! Signed notes define no type for RSA.

use openssl::{
    error::ErrorStack,
    md::Md,
    nid::Nid,
    pkey::{Id, PKey, Public},
    pkey_ctx::PkeyCtx,
    rsa::Padding,
    sign::{RsaPssSaltlen, Verifier},
};
use sha2::{Digest, Sha256};

use super::digest;

/// Name of the signature type in the id of an RSA key.
const RSA_PSS: &str = "stationmaster-rsa-pss-sha256";

/// A public key that verifies checkpoints.
pub(super) struct NoteKey<'a> {
    kind: Kind,
    spki_der: &'a [u8],
}

enum Kind {
    Ed25519 {
        key: PKey<Public>,
        raw: Vec<u8>,
    },
    EcdsaP256(PKey<Public>),
    RsaPss(PKey<Public>),
    /// No signature of this key is valid.
    Other,
}

impl<'a> NoteKey<'a> {
    /// Reads a SubjectPublicKeyInfo.
    pub(super) fn read(spki_der: &'a [u8]) -> Self {
        // Errors are taken off OpenSSL's queue.
        Self { kind: kind(spki_der).unwrap_or(Kind::Other), spki_der }
    }

    /// Returns the id of the key under a name.
    pub(super) fn id(&self, name: &str) -> [u8; 4] {
        let hash = match &self.kind {
            Kind::Ed25519 { raw, .. } => Sha256::new().chain_update(name).chain_update(b"\n\x01").chain_update(raw),
            Kind::EcdsaP256(_) => Sha256::new().chain_update(self.spki_der),
            Kind::RsaPss(_) | Kind::Other => {
                Sha256::new().chain_update(name).chain_update(b"\n\xff").chain_update(RSA_PSS).chain_update(self.spki_der)
            }
        };
        let hash = hash.finalize();
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// Returns whether the signature of the text is valid.
    pub(super) fn verifies(&self, text: &str, signature: &[u8]) -> bool {
        // For a signature that does not fit OpenSSL reports an error, which is taken off its queue here.
        self.check(text, signature).unwrap_or(false)
    }

    fn check(&self, text: &str, signature: &[u8]) -> Result<bool, ErrorStack> {
        let context = |key| -> Result<_, ErrorStack> {
            let mut context = PkeyCtx::new(key)?;
            context.verify_init()?;
            Ok(context)
        };
        match &self.kind {
            Kind::Ed25519 { key, .. } => Verifier::new_without_digest(key)?.verify_oneshot(signature, text.as_bytes()),
            Kind::EcdsaP256(key) => {
                let mut context = context(key)?;
                context.set_signature_md(Md::sha256())?;
                context.verify(&digest(text), signature)
            }
            Kind::RsaPss(key) => {
                let mut context = context(key)?;
                context.set_rsa_padding(Padding::PKCS1_PSS)?;
                context.set_signature_md(Md::sha256())?;
                context.set_rsa_mgf1_md(Md::sha256())?;
                context.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
                context.verify(&digest(text), signature)
            }
            Kind::Other => Ok(false),
        }
    }
}

fn kind(spki_der: &[u8]) -> Result<Kind, ErrorStack> {
    let key = PKey::public_key_from_der(spki_der)?;
    Ok(match key.id() {
        Id::ED25519 => Kind::Ed25519 { raw: key.raw_public_key()?, key },
        Id::EC if key.ec_key()?.group().curve_name() == Some(Nid::X9_62_PRIME256V1) => Kind::EcdsaP256(key),
        Id::RSA => Kind::RsaPss(key),
        _ => Kind::Other,
    })
}
