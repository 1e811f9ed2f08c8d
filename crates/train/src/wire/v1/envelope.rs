//! Seals and opens files with the train's envelope: `IV(16) || AES-CBC(PKCS#7)`, no header, no authentication
//! (`docs/wire-format.md §3`).
//!
//! Because a sealed file is not authenticated, plaintext from an [`Opener`] is untrusted until a signed digest over all of it
//! has been compared.

mod length;
mod shape;

use std::fmt;

use length::content_of;
pub use length::{TAIL_LEN, has_whole_blocks, opened_len, sealed_len};
use openssl::{
    rand::{rand_bytes, rand_priv_bytes},
    symm::{Cipher, Crypter, Mode},
};
pub use shape::{MIN_SEALED_LEN, Shape, ShapeVerdict, has_sealed_len};
use zeroize::Zeroizing;

/// Length of the IV and of a cipher block, in bytes.
pub const BLOCK: usize = 16;
/// Length of new envelope keys, in bytes.
const NEW_KEY: usize = 32;

/// Error of sealing or opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The file was not sealed with this key. One error covers every cause, because the exact cause would help an attacker.
    #[error("broken envelope")]
    Broken,
    /// OpenSSL itself failed (out of memory or randomness); a retry may help.
    #[error("the cryptographic library failed")]
    Unavailable,
}

/// The symmetric key of one train between two stops. Wiped when dropped, and never printed.
pub struct EnvelopeKey(Zeroizing<Vec<u8>>);

impl EnvelopeKey {
    /// Returns a new random key of 32 bytes.
    pub fn random() -> Result<Self, EnvelopeError> {
        let mut bytes = Zeroizing::new(vec![0; NEW_KEY]);
        rand_priv_bytes(&mut bytes).map_err(|_| EnvelopeError::Unavailable)?;
        Ok(Self(bytes))
    }

    /// Converts an unwrapped key of 16, 24 or 32 bytes; the sender chooses the length.
    pub fn from_unwrapped(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        match bytes.len() {
            16 | 24 | 32 => Ok(Self(Zeroizing::new(bytes.to_vec()))),
            _ => Err(EnvelopeError::Broken),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn crypter(&self, mode: Mode, iv: &[u8]) -> Result<Crypter, EnvelopeError> {
        let cipher = match self.0.len() {
            16 => Cipher::aes_128_cbc(),
            24 => Cipher::aes_192_cbc(),
            _ => Cipher::aes_256_cbc(),
        };
        Crypter::new(cipher, mode, &self.0, Some(iv)).map_err(|_| EnvelopeError::Unavailable)
    }
}

impl fmt::Debug for EnvelopeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnvelopeKey({} bytes)", self.0.len())
    }
}

/// Seals one file, chunk by chunk, under its own fresh IV.
pub struct Sealer {
    crypter: Crypter,
    iv: Option<[u8; BLOCK]>,
}

impl Sealer {
    /// Starts one file.
    pub fn new(key: &EnvelopeKey) -> Result<Self, EnvelopeError> {
        let mut iv = [0; BLOCK];
        rand_bytes(&mut iv).map_err(|_| EnvelopeError::Unavailable)?;
        Self::with_iv(key, iv)
    }

    fn with_iv(key: &EnvelopeKey, iv: [u8; BLOCK]) -> Result<Self, EnvelopeError> {
        Ok(Self { crypter: key.crypter(Mode::Encrypt, &iv)?, iv: Some(iv) })
    }

    /// Seals the next chunk and appends complete blocks to `out`, which the caller clears and reuses.
    pub fn update(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        self.begin(out);
        append(&mut self.crypter, plaintext, out).map_err(|()| EnvelopeError::Unavailable)
    }

    /// Ends the file and appends the last block to `out`.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        self.begin(out);
        append_last(&mut self.crypter, out).map_err(|()| EnvelopeError::Unavailable)
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some(iv) = self.iv.take() {
            out.extend_from_slice(&iv);
        }
    }
}

/// Opens one sealed file, chunk by chunk. It appends plaintext to `out`: the caller wipes it (`Zeroizing<Vec<u8>>`
/// derefs to the required type) and trusts it only after [`Opener::finish`] and a compared digest.
pub struct Opener<'k> {
    key: &'k EnvelopeKey,
    state: State,
}

enum State {
    /// The first bytes of the IV.
    ReadingIv { iv: [u8; BLOCK], filled: usize },
    Open {
        crypter: Crypter,
        /// The newest block of plaintext, which contains the padding if it is the last one.
        held: Zeroizing<[u8; BLOCK]>,
        /// Whether `held` contains a block.
        any: bool,
    },
}

impl<'k> Opener<'k> {
    /// Starts one file. Nothing can fail before its IV has been read.
    pub fn new(key: &'k EnvelopeKey) -> Self {
        Self { key, state: State::ReadingIv { iv: [0; BLOCK], filled: 0 } }
    }

    /// Opens the next chunk and appends plaintext to `out`. At least one block is held back until [`Opener::finish`].
    pub fn update(&mut self, mut sealed: &[u8], out: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        if let State::ReadingIv { iv, filled } = &mut self.state {
            let (head, rest) = sealed.split_at(sealed.len().min(BLOCK - *filled));
            iv[*filled..*filled + head.len()].copy_from_slice(head);
            *filled += head.len();
            sealed = rest;
            if *filled == BLOCK {
                let mut crypter = self.key.crypter(Mode::Decrypt, &*iv)?;
                // OpenSSL takes a different time for broken padding than for valid padding, so the padding is checked here.
                crypter.pad(false);
                self.state = State::Open { crypter, held: Zeroizing::new([0; BLOCK]), any: false };
            }
        }
        let State::Open { crypter, held, any } = &mut self.state else { return Ok(()) };
        let start = out.len();
        if *any {
            out.extend_from_slice(&held[..]);
        }
        append(crypter, sealed, out).map_err(|()| EnvelopeError::Broken)?;
        // Without padding OpenSSL returns whole blocks only.
        if let Some(newest) = out[start..].last_chunk() {
            **held = *newest;
            *any = true;
            out.truncate(out.len() - BLOCK);
        }
        Ok(())
    }

    /// Ends the file: checks length and padding, and appends the rest to `out`.
    pub fn finish(self, out: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        let State::Open { mut crypter, held, any: true } = self.state else { return Err(EnvelopeError::Broken) };
        // Fails when the file ends within a block.
        crypter.finalize(&mut [0; BLOCK]).map_err(|_| EnvelopeError::Broken)?;
        out.extend_from_slice(&held[..content_of(&held)?]);
        Ok(())
    }
}

fn append(crypter: &mut Crypter, input: &[u8], out: &mut Vec<u8>) -> Result<(), ()> {
    let start = out.len();
    out.resize(start + input.len() + BLOCK, 0);
    let written = crypter.update(input, &mut out[start..]);
    out.truncate(start + written.as_ref().copied().unwrap_or(0));
    written.map(drop).map_err(drop)
}

fn append_last(crypter: &mut Crypter, out: &mut Vec<u8>) -> Result<(), ()> {
    let start = out.len();
    out.resize(start + BLOCK, 0);
    let written = crypter.finalize(&mut out[start..]);
    out.truncate(start + written.as_ref().copied().unwrap_or(0));
    written.map(drop).map_err(drop)
}

#[cfg(test)]
mod tests;
