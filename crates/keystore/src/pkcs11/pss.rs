//! Encodes signatures with EMSA-PSS (RFC 8017 §9.1.1), for tokens that refuse a salt of the scheme's length, but do raw RSA.
//!
//! Nothing here is secret: digest and salt of a signature are public.

use openssl::rand::rand_bytes;
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::oaep::xor_mgf1;
use crate::{Hash, KeystoreError, SignScheme};

/// Encodes a digest of the scheme's length with a fresh salt. Returns a block as long as a modulus of `bits`, and numerically smaller;
/// `None` if the scheme is not PSS, or the key is too small for it.
///
/// # Errors
/// [`KeystoreError::Fault`] without random bytes.
pub(super) fn encode(scheme: SignScheme, bits: u32, digest: &[u8]) -> Result<Option<Vec<u8>>, KeystoreError> {
    let (Some(length), Some(hash)) = (scheme.salt_len(bits), scheme.hash()) else {
        return Ok(None);
    };
    let mut salt = vec![0; length];
    rand_bytes(&mut salt)
        .map_err(|_| KeystoreError::Fault { operation: "random bytes".to_owned(), code: "OpenSSL".to_owned() })?;
    Ok(Some(match hash {
        Hash::Sha256 => with_salt::<Sha256>(bits, digest, &salt),
        Hash::Sha384 => with_salt::<Sha384>(bits, digest, &salt),
        Hash::Sha512 => with_salt::<Sha512>(bits, digest, &salt),
    }))
}

/// Encodes with a salt that fits.
fn with_salt<D: Digest>(bits: u32, digest: &[u8], salt: &[u8]) -> Vec<u8> {
    let encoded_bits = bits - 1;
    let encoded_len = encoded_bits.div_ceil(8) as usize;
    let hash = D::new().chain_update([0; 8]).chain_update(digest).chain_update(salt).finalize();
    let mut masked = vec![0; encoded_len - hash.len() - 1];
    let (padding, end) = masked.split_at_mut(encoded_len - hash.len() - 1 - salt.len());
    if let Some(last) = padding.last_mut() {
        *last = 1;
    }
    end.copy_from_slice(salt);
    xor_mgf1::<D>(&mut masked, &hash);
    masked[0] &= 0xff >> (8 * encoded_len - encoded_bits as usize);
    // If the modulus has one bit more than full bytes, the encoding is a byte shorter.
    let mut block = vec![0; bits.div_ceil(8) as usize - encoded_len];
    block.extend(masked);
    block.extend(&hash[..]);
    block.push(0xbc);
    block
}

#[cfg(test)]
mod tests;
