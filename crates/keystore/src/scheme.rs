//! Signature and encryption schemes of the gRPC contract, by name and with their parameters.

use serde::{Deserialize, Serialize};

use crate::KeyType;

/// A hash function of a scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// Returns the length of a digest in bytes.
    pub fn digest_len(self) -> usize {
        match self {
            Hash::Sha256 => 32,
            Hash::Sha384 => 48,
            Hash::Sha512 => 64,
        }
    }
}

/// A scheme for signatures over a digest, or over a message where the scheme has no hash function of its caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SignScheme {
    /// RSASSA-PSS, MGF1 over the same hash, salt as long as the digest.
    Pss(Hash),
    /// RSASSA-PKCS1-v1_5 with the hash's DigestInfo.
    Pkcs1(Hash),
    /// RSASSA-PSS, SHA-512, MGF1-SHA-512, the longest salt that fits the key: the scheme of train signatures.
    PssSha512MaxSalt,
    /// ECDSA on P-256 over a SHA-256 digest; the signature is ASN.1 DER (RFC 3279 §2.2.3).
    EcdsaP256,
    /// ECDSA on P-384 over a SHA-384 digest; the signature is ASN.1 DER (RFC 3279 §2.2.3).
    EcdsaP384,
    /// Ed25519 (RFC 8032 §5.1) over the message itself; the signature has 64 bytes.
    Ed25519,
}

impl SignScheme {
    /// All schemes, in the order of the contract.
    pub const ALL: [SignScheme; 10] = [
        SignScheme::Pss(Hash::Sha256),
        SignScheme::Pss(Hash::Sha384),
        SignScheme::Pss(Hash::Sha512),
        SignScheme::Pkcs1(Hash::Sha256),
        SignScheme::Pkcs1(Hash::Sha384),
        SignScheme::Pkcs1(Hash::Sha512),
        SignScheme::PssSha512MaxSalt,
        SignScheme::EcdsaP256,
        SignScheme::EcdsaP384,
        SignScheme::Ed25519,
    ];

    /// Returns the name in the contract.
    pub fn name(self) -> &'static str {
        match self {
            SignScheme::Pss(Hash::Sha256) => "RSA_PSS_SHA256",
            SignScheme::Pss(Hash::Sha384) => "RSA_PSS_SHA384",
            SignScheme::Pss(Hash::Sha512) => "RSA_PSS_SHA512",
            SignScheme::Pkcs1(Hash::Sha256) => "RSA_PKCS1_SHA256",
            SignScheme::Pkcs1(Hash::Sha384) => "RSA_PKCS1_SHA384",
            SignScheme::Pkcs1(Hash::Sha512) => "RSA_PKCS1_SHA512",
            SignScheme::PssSha512MaxSalt => "RSA_PSS_SHA512_MAX_SALT",
            SignScheme::EcdsaP256 => "ECDSA_P256_SHA256",
            SignScheme::EcdsaP384 => "ECDSA_P384_SHA384",
            SignScheme::Ed25519 => "ED25519",
        }
    }

    /// Returns the type of the keys that the scheme is for.
    pub fn key_type(self) -> KeyType {
        match self {
            SignScheme::Pss(_) | SignScheme::Pkcs1(_) | SignScheme::PssSha512MaxSalt => KeyType::Rsa,
            SignScheme::EcdsaP256 => KeyType::EcP256,
            SignScheme::EcdsaP384 => KeyType::EcP384,
            SignScheme::Ed25519 => KeyType::Ed25519,
        }
    }

    /// Returns the hash function of the signed digest; `None` if the message itself is signed.
    pub fn hash(self) -> Option<Hash> {
        match self {
            SignScheme::Pss(hash) | SignScheme::Pkcs1(hash) => Some(hash),
            SignScheme::PssSha512MaxSalt => Some(Hash::Sha512),
            SignScheme::EcdsaP256 => Some(Hash::Sha256),
            SignScheme::EcdsaP384 => Some(Hash::Sha384),
            SignScheme::Ed25519 => None,
        }
    }

    /// Returns the length of the PSS salt for a modulus of `bits`: `None` for other schemes or when the key is too small.
    pub fn salt_len(self, bits: u32) -> Option<usize> {
        // RFC 8017 §9.1.1: emLen = ceil((modBits - 1) / 8), and emLen >= hLen + sLen + 2.
        let room = (bits.saturating_sub(1).div_ceil(8) as usize).checked_sub(self.hash()?.digest_len() + 2)?;
        match self {
            SignScheme::Pss(hash) => (hash.digest_len() <= room).then_some(hash.digest_len()),
            SignScheme::PssSha512MaxSalt => Some(room),
            _ => None,
        }
    }
}

/// A scheme for wrapped symmetric keys: RSAES-OAEP with an empty label, MGF1 over the same hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OaepScheme {
    /// With SHA-256.
    Sha256,
    /// With SHA-512: the scheme of train keys.
    Sha512,
}

impl OaepScheme {
    /// Both schemes.
    pub const ALL: [OaepScheme; 2] = [OaepScheme::Sha256, OaepScheme::Sha512];

    /// Returns the name in the contract.
    pub fn name(self) -> &'static str {
        match self {
            OaepScheme::Sha256 => "RSA_OAEP_SHA256",
            OaepScheme::Sha512 => "RSA_OAEP_SHA512",
        }
    }

    /// Returns the hash function of the label and of the mask.
    pub fn hash(self) -> Hash {
        match self {
            OaepScheme::Sha256 => Hash::Sha256,
            OaepScheme::Sha512 => Hash::Sha512,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_salt_is_the_one_trains_use() {
        let salt = |bits| SignScheme::PssSha512MaxSalt.salt_len(bits);
        assert_eq!((salt(2048), salt(3072), salt(4096)), (Some(190), Some(318), Some(446)));
        assert_eq!(SignScheme::Pss(Hash::Sha512).salt_len(1024), None);
        assert_eq!(SignScheme::Pkcs1(Hash::Sha256).salt_len(2048), None);
    }
}
