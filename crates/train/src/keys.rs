//! RSA public keys of creators, builders and stations. Private keys stay in the token and are never handled here.

mod check;
mod pem;

use std::fmt;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
pub use check::{BadSignature, HashAlgorithm};
use openssl::{
    bn::{BigNum, BigNumRef},
    error::ErrorStack,
    md::Md,
    pkey::{PKey, Public},
    pkey_ctx::PkeyCtx,
    rsa::{Padding, Rsa},
    sha::sha256,
};

use super::{config::HexText, envelope::EnvelopeKey};

/// Minimum size of a modulus, in bits.
pub const MIN_BITS: u32 = 2048;
/// Maximum size of a modulus, in bits; larger ones only cost time.
pub const MAX_BITS: u32 = 8192;
/// Maximum length of a PEM text, in bytes.
pub const MAX_PEM_BYTES: usize = 16 * 1024;
/// Maximum size of a public exponent, in bits.
const MAX_EXPONENT_BITS: i32 = 64;

/// An RSA public key of [`MIN_BITS`] to [`MAX_BITS`]. Two keys are equal if modulus and exponent are, in any encoding.
#[derive(Clone)]
pub struct PublicKey {
    rsa: Rsa<Public>,
    pkey: PKey<Public>,
    spki: Vec<u8>,
}

/// Error: not an accepted public key. The sender's fault, except [`KeyError::Unavailable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not hex.
    #[error("public key: not hex")]
    NotHex,
    /// Not PEM with exactly one public key block (`PUBLIC KEY` or `RSA PUBLIC KEY`).
    #[error("public key: not one PEM block of a public key")]
    NotPem,
    /// Longer than [`MAX_PEM_BYTES`].
    #[error("public key: longer than {MAX_PEM_BYTES} bytes")]
    TooLong,
    /// The DER is not an RSA public key in its one canonical encoding.
    #[error("public key: not an RSA key in DER")]
    NotRsa,
    /// The modulus is smaller than [`MIN_BITS`] or larger than [`MAX_BITS`].
    #[error("public key: {bits} bits, not {MIN_BITS} to {MAX_BITS}")]
    Size {
        /// Size of the modulus, in bits.
        bits: u32,
    },
    /// An even modulus, or an exponent that is even, 1, or over 64 bits.
    #[error("public key: its numbers cannot be an RSA key's")]
    BadNumbers,
    /// OpenSSL itself failed (out of memory or randomness); a retry may help.
    #[error("public key: the cryptographic library failed")]
    Unavailable,
}

/// Returns the PEM of an unchecked SubjectPublicKeyInfo. It is used to show a key, also one that no train could use.
pub fn spki_pem(der: &[u8]) -> String {
    pem::write_spki(der)
}

/// Returns `SHA256:` and the unpadded base64 of the SHA-256 of an unchecked SubjectPublicKeyInfo in DER.
pub fn spki_fingerprint(der: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(sha256(der)))
}

impl PublicKey {
    /// Reads a key as a config states it: hex of PEM.
    pub fn from_hex_pem(text: &HexText) -> Result<Self, KeyError> {
        if text.as_str().len() > 4 * MAX_PEM_BYTES {
            return Err(KeyError::TooLong);
        }
        Self::from_pem(&text.decode().map_err(|_| KeyError::NotHex)?)
    }

    /// Reads one PEM block, `PUBLIC KEY` (SubjectPublicKeyInfo) or `RSA PUBLIC KEY` (PKCS#1). Text around it is ignored.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        match pem::read(text)? {
            (pem::Label::Spki, der) => Self::from_spki_der(&der),
            (pem::Label::Pkcs1, der) => {
                Self::checked(Rsa::public_key_from_der_pkcs1(&der).map_err(|_| KeyError::NotRsa)?, |rsa| {
                    Ok(rsa.public_key_to_der_pkcs1()? == der)
                })
            }
        }
    }

    /// Reads a DER SubjectPublicKeyInfo.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        Self::checked(Rsa::public_key_from_der(der).map_err(|_| KeyError::NotRsa)?, |rsa| Ok(rsa.public_key_to_der()? == der))
    }

    /// Creates a key from its modulus and exponent, big-endian, as a token returns them.
    pub fn from_components(modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyError> {
        let number = |bytes| BigNum::from_slice(bytes).map_err(|_| KeyError::Unavailable);
        let rsa = Rsa::from_public_components(number(modulus)?, number(exponent)?);
        Self::checked(rsa.map_err(|_| KeyError::BadNumbers)?, |_| Ok(true))
    }

    /// Checks a key. `canonical` returns whether the key encodes to its input: no trailing bytes and only one encoding.
    fn checked(rsa: Rsa<Public>, canonical: impl FnOnce(&Rsa<Public>) -> Result<bool, ErrorStack>) -> Result<Self, KeyError> {
        let (n, e) = (rsa.n(), rsa.e());
        if n.is_negative() || e.is_negative() {
            return Err(KeyError::BadNumbers);
        }
        let bits = n.num_bits().unsigned_abs();
        if !(MIN_BITS..=MAX_BITS).contains(&bits) {
            return Err(KeyError::Size { bits });
        }
        if !n.is_bit_set(0) || !e.is_bit_set(0) || !(2..=MAX_EXPONENT_BITS).contains(&e.num_bits()) {
            return Err(KeyError::BadNumbers);
        }
        if !canonical(&rsa).map_err(unavailable)? {
            return Err(KeyError::NotRsa);
        }
        let spki = rsa.public_key_to_der().map_err(unavailable)?;
        let pkey = PKey::from_rsa(rsa.clone()).map_err(unavailable)?;
        Ok(Self { rsa, pkey, spki })
    }

    /// Returns the size of the modulus, in bits.
    pub fn bits(&self) -> u32 {
        self.rsa.n().num_bits().unsigned_abs()
    }

    /// Returns the size of the modulus, of a signature and of a wrapped key, in bytes.
    pub fn size(&self) -> usize {
        self.rsa.size() as usize
    }

    /// Returns the modulus, big-endian without leading zeros.
    pub fn modulus(&self) -> Vec<u8> {
        self.rsa.n().to_vec()
    }

    /// Returns the public exponent, big-endian without leading zeros.
    pub fn exponent(&self) -> Vec<u8> {
        self.rsa.e().to_vec()
    }

    /// Returns the PEM of the SubjectPublicKeyInfo: 64 columns, with a newline at its end.
    pub fn to_pem(&self) -> String {
        spki_pem(&self.spki)
    }

    /// Returns the DER of the SubjectPublicKeyInfo.
    pub fn to_der(&self) -> Vec<u8> {
        self.spki.clone()
    }

    /// Returns `SHA256:` and the unpadded base64 of the SHA-256 of [`PublicKey::to_der`].
    pub fn fingerprint(&self) -> String {
        spki_fingerprint(&self.spki)
    }

    /// Returns the key as a JSON Web Key on one line; `kid` is its thumbprint (RFC 7638).
    pub fn to_jwk_json(&self) -> String {
        let number = |n: &BigNumRef| URL_SAFE_NO_PAD.encode(n.to_vec());
        let (n, e) = (number(self.rsa.n()), number(self.rsa.e()));
        let thumbprint = sha256(format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#).as_bytes());
        let kid = URL_SAFE_NO_PAD.encode(thumbprint);
        format!(r#"{{"kty":"RSA","kid":"{kid}","n":"{n}","e":"{e}"}}"#)
    }

    /// Wraps an envelope key with RSA-OAEP, SHA-512 and MGF1-SHA-512, empty label (`docs/wire-format.md §3`).
    pub fn wrap(&self, key: &EnvelopeKey) -> Result<Vec<u8>, KeyError> {
        let wrap = || {
            let mut context = PkeyCtx::new(&self.pkey)?;
            context.encrypt_init()?;
            context.set_rsa_padding(Padding::PKCS1_OAEP)?;
            context.set_rsa_oaep_md(Md::sha512())?;
            context.set_rsa_mgf1_md(Md::sha512())?;
            let mut wrapped = Vec::new();
            context.encrypt_to_vec(key.as_bytes(), &mut wrapped)?;
            Ok(wrapped)
        };
        wrap().map_err(unavailable)
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.rsa.n() == other.rsa.n() && self.rsa.e() == other.rsa.e()
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} bits, {})", self.bits(), self.fingerprint())
    }
}

fn unavailable(_: ErrorStack) -> KeyError {
    KeyError::Unavailable
}

#[cfg(test)]
mod tests;
