//! SHA-512 digests of a train's content (`docs/wire-format.md §5`, `§6`), which do not cover names, lengths and counts; and the
//! SHA-256 digests of files and images.

mod sha256;

use std::fmt;

use openssl::sha::{Sha512, sha512};
use subtle::ConstantTimeEq;

pub use self::sha256::{FileHasher, NotSha256, Sha256Digest};
use super::config::{HexText, Id};

/// A SHA-512 digest. Comparison takes constant time.
#[derive(Clone, Copy)]
pub struct Digest([u8; Self::LEN]);

/// Error: hex or bytes that are not 64 bytes long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-512 digest")]
pub struct NotADigest;

impl Digest {
    /// Length in bytes.
    pub const LEN: usize = 64;

    /// Returns the SHA-512 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha512(bytes))
    }

    /// Converts 64 bytes, a digest stated elsewhere.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotADigest> {
        bytes.try_into().map(Self).map_err(|_| NotADigest)
    }

    /// Decodes a digest as a config states it.
    pub fn from_hex(text: &HexText) -> Result<Self, NotADigest> {
        Self::from_bytes(&text.decode().map_err(|_| NotADigest)?)
    }

    /// Returns the 64 bytes.
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// Returns lower-case hex, as a config states it.
    pub fn to_hex(&self) -> HexText {
        HexText::from_bytes(&self.0)
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Digest {}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&const_hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// Hasher of the immutable files: creator id, contents in `file_list` order, session id, query.
pub struct ImmutableHasher(Sha512);

impl ImmutableHasher {
    /// Starts with the creator's id as Python spells it.
    pub fn new(creator_id: &Id) -> Self {
        let mut sha = Sha512::new();
        sha.update(creator_id.to_string().as_bytes());
        Self(sha)
    }

    /// Adds plaintext of the listed files, one file after the other.
    pub fn update(&mut self, plaintext: &[u8]) {
        self.0.update(plaintext);
    }

    /// Hashes the session id and then the query, if present, and returns the digest.
    pub fn finish(mut self, session_id: &[u8], query: Option<&[u8]>) -> Digest {
        self.0.update(session_id);
        self.0.update(query.unwrap_or_default());
        Digest(self.0.finish())
    }
}

/// Hasher of the results: contents of all regular files in component-wise name order, session id.
#[derive(Default)]
pub struct ResultHasher(Sha512);

impl ResultHasher {
    /// Creates an empty hasher.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds plaintext of the result files, one file after the other.
    pub fn update(&mut self, plaintext: &[u8]) {
        self.0.update(plaintext);
    }

    /// Hashes the session id and returns the digest.
    pub fn finish(mut self, session_id: &[u8]) -> Digest {
        self.0.update(session_id);
        Digest(self.0.finish())
    }
}

/// Returns the chain digest that a stop signs. The first stop (`earlier` empty) hashes the session id and the results digest.
/// Any other stop hashes the digests of all earlier stops, by ascending index, and the results digest, but not the session id.
pub fn chain_digest(session_id: &[u8], earlier: &[Digest], results: &Digest) -> Digest {
    let mut sha = Sha512::new();
    if earlier.is_empty() {
        sha.update(session_id);
    }
    for digest in earlier {
        sha.update(&digest.0);
    }
    sha.update(&results.0);
    Digest(sha.finish())
}

#[cfg(test)]
mod tests;
