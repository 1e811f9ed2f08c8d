//! Removes OAEP padding (RFC 8017 §7.1.2 step 3, empty label) from raw RSA output, in constant time.
//!
//! Everything up to the last line takes the same path whatever the block contains: no early return, no data-dependent index,
//! one error. The caller learns only whether a block was accepted, and the length of its message. Otherwise the time of a refusal
//! would reveal which check failed, and an attacker with enough queries could decrypt the key (Manger 2001).

use sha2::{Digest, Sha256, Sha512};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

use crate::OaepScheme;

/// The block is not a valid encoding. Does not reveal why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadPadding;

/// Returns the message in `block`, which must be as long as the modulus. The block is consumed and zeroised.
pub(crate) fn unpad(block: Zeroizing<Vec<u8>>, scheme: OaepScheme) -> Result<Zeroizing<Vec<u8>>, BadPadding> {
    match scheme {
        OaepScheme::Sha256 => decode::<Sha256>(block),
        OaepScheme::Sha512 => decode::<Sha512>(block),
    }
}

fn decode<D: Digest>(mut block: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, BadPadding> {
    let hash_len = <D as Digest>::output_size();
    // The modulus' length is public.
    if block.len() < 2 * hash_len + 2 {
        return Err(BadPadding);
    }
    let (y, masked) = block.split_at_mut(1);
    let (seed, db) = masked.split_at_mut(hash_len);
    xor_mgf1::<D>(seed, db);
    xor_mgf1::<D>(db, seed);

    let (label_hash, rest) = db.split_at_mut(hash_len);
    let mut valid = y[0].ct_eq(&0) & label_hash[..].ct_eq(&D::digest(b"")[..]);

    // rest = 0x00 … 0x00 0x01 message. `start` becomes the index after the 0x01.
    let mut looking = Choice::from(1);
    let mut start = 0u32;
    for (index, byte) in (1u32..).zip(rest.iter()) {
        let is_one = byte.ct_eq(&1);
        valid &= !looking | is_one | byte.ct_eq(&0);
        start.conditional_assign(&index, looking & is_one);
        looking &= !is_one;
    }
    valid &= !looking;

    // Move the message to the front in steps of 1, 2, 4, …: each step is done or not by selection, never by branching.
    let len = rest.len();
    let mut step = 1;
    while step < len {
        let moved = !(start & step as u32).ct_eq(&0);
        for index in 0..len {
            let from = rest.get(index + step).copied().unwrap_or(0);
            rest[index].conditional_assign(&from, moved);
        }
        step *= 2;
    }
    let mut message = Zeroizing::new(rest.to_vec());
    let message_len = len - (start as usize).min(len);
    if !bool::from(valid) {
        return Err(BadPadding);
    }
    // Changes only the length: the whole buffer is zeroised when dropped.
    message.truncate(message_len);
    Ok(message)
}

/// XORs `MGF1(seed)` (RFC 8017 §B.2.1) over `target`.
pub(super) fn xor_mgf1<D: Digest>(target: &mut [u8], seed: &[u8]) {
    for (counter, chunk) in (0u32..).zip(target.chunks_mut(<D as Digest>::output_size())) {
        let mut mask = D::new().chain_update(seed).chain_update(counter.to_be_bytes()).finalize();
        chunk.iter_mut().zip(mask.iter()).for_each(|(byte, mask)| *byte ^= mask);
        mask[..].zeroize();
    }
}

#[cfg(test)]
mod tests;
