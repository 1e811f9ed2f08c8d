//! Sizes of sealed files and of their plaintext. A tar header needs the size before the content, but a sealed file's exact
//! plaintext size is only known from its last block.

use openssl::symm::Mode;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq, ConstantTimeGreater};
use zeroize::Zeroizing;

use super::{BLOCK, EnvelopeError, EnvelopeKey};

/// Length of a sealed file's end that shows the size of its plaintext, in bytes: the last block, and the one that is its IV.
pub const TAIL_LEN: usize = 2 * BLOCK;

/// Whether a file's size is a multiple of the cipher's block.
pub fn has_whole_blocks(len: u64) -> bool {
    len.is_multiple_of(BLOCK as u64)
}

/// Returns the size of a sealed file for the size of its plaintext; both in bytes. `None` if it does not fit 64 bits.
pub fn sealed_len(plain_len: u64) -> Option<u64> {
    let block = BLOCK as u64;
    (plain_len / block).checked_add(2)?.checked_mul(block)
}

/// Returns the size of a sealed file's plaintext, from the file's own size and its last [`TAIL_LEN`] bytes. The whole padding is checked,
/// in constant time wherever it is wrong.
pub fn opened_len(sealed_len: u64, key: &EnvelopeKey, tail: &[u8; TAIL_LEN]) -> Result<u64, EnvelopeError> {
    let block = BLOCK as u64;
    if sealed_len < 2 * block || !sealed_len.is_multiple_of(block) {
        return Err(EnvelopeError::Broken);
    }
    let (before, last) = tail.split_at(BLOCK);
    // CBC: the previous block is the last block's IV.
    let mut crypter = key.crypter(Mode::Decrypt, before)?;
    crypter.pad(false);
    let mut plain = Zeroizing::new([0u8; 2 * BLOCK]);
    crypter.update(last, &mut *plain).map_err(|_| EnvelopeError::Unavailable)?;
    let (plain, _) = plain.split_first_chunk().ok_or(EnvelopeError::Unavailable)?;
    Ok(sealed_len - 2 * block + content_of(plain)? as u64)
}

/// Returns how many bytes of a last block are content. The whole padding is checked, in constant time wherever it is wrong.
pub(super) fn content_of(block: &[u8; BLOCK]) -> Result<usize, EnvelopeError> {
    let padding = block[BLOCK - 1];
    let mut good = !padding.ct_eq(&0) & !padding.ct_gt(&(BLOCK as u8));
    for (from_end, byte) in block.iter().rev().enumerate() {
        // The cast is exact: `from_end` is below 16.
        let is_padding = padding.ct_gt(&(from_end as u8));
        good &= Choice::conditional_select(&Choice::from(1), &byte.ct_eq(&padding), is_padding);
    }
    if bool::from(good) { Ok(BLOCK - usize::from(padding)) } else { Err(EnvelopeError::Broken) }
}
