//! Signature and encryption schemes of the gRPC contract, by name and with their parameters.

use serde::{Deserialize, Serialize};

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

/// A scheme for signatures over a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SignScheme {
    /// RSASSA-PSS, MGF1 over the same hash, salt as long as the digest.
    Pss(Hash),
    /// RSASSA-PKCS1-v1_5 with the hash's DigestInfo.
    Pkcs1(Hash),
    /// RSASSA-PSS, SHA-512, MGF1-SHA-512, the longest salt that fits the key: the scheme of train signatures.
    PssSha512MaxSalt,
}

impl SignScheme {
    /// All schemes, in the order of the contract.
    pub const ALL: [SignScheme; 7] = [
        SignScheme::Pss(Hash::Sha256),
        SignScheme::Pss(Hash::Sha384),
        SignScheme::Pss(Hash::Sha512),
        SignScheme::Pkcs1(Hash::Sha256),
        SignScheme::Pkcs1(Hash::Sha384),
        SignScheme::Pkcs1(Hash::Sha512),
        SignScheme::PssSha512MaxSalt,
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
        }
    }

    /// Returns the hash function of the signed digest.
    pub fn hash(self) -> Hash {
        match self {
            SignScheme::Pss(hash) | SignScheme::Pkcs1(hash) => hash,
            SignScheme::PssSha512MaxSalt => Hash::Sha512,
        }
    }

    /// Returns the length of the PSS salt for a modulus of `bits`: `None` for PKCS#1 v1.5 or when the key is too small.
    pub fn salt_len(self, bits: u32) -> Option<usize> {
        // RFC 8017 §9.1.1: emLen = ceil((modBits - 1) / 8), and emLen >= hLen + sLen + 2.
        let room = (bits.saturating_sub(1).div_ceil(8) as usize).checked_sub(self.hash().digest_len() + 2)?;
        match self {
            SignScheme::Pss(hash) => (hash.digest_len() <= room).then_some(hash.digest_len()),
            SignScheme::Pkcs1(_) => None,
            SignScheme::PssSha512MaxSalt => Some(room),
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
