//! SHA-256 digests: of files, and the digests by which images and their parts are named (OCI descriptor.md "Digests").

use std::{fmt, str::FromStr};

use openssl::sha::{Sha256, sha256};

/// Prefix of a digest's text: its algorithm.
const ALGORITHM: &str = "sha256:";

/// A SHA-256 digest. Its text is `sha256:` and 64 lower-case hex digits; no other spelling is accepted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256Digest([u8; Self::LEN]);

/// Error: a text that is not `sha256:` and 64 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256 digest")]
pub struct NotSha256;

impl Sha256Digest {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// Returns the digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha256(bytes))
    }

    /// Parses a digest without its prefix: 64 lower-case hex digits.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn from_hex(text: &str) -> Result<Self, NotSha256> {
        let is_lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        const_hex::decode_to_array(is_lower.then_some(text).ok_or(NotSha256)?).map(Self).map_err(|_| NotSha256)
    }

    /// Returns the digest without its prefix: 64 lower-case hex digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        const_hex::encode(self.0)
    }

    /// Returns the 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl From<[u8; Self::LEN]> for Sha256Digest {
    fn from(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }
}

impl FromStr for Sha256Digest {
    type Err = NotSha256;

    fn from_str(text: &str) -> Result<Self, NotSha256> {
        Self::from_hex(text.strip_prefix(ALGORITHM).ok_or(NotSha256)?)
    }
}

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ALGORITHM}{}", self.to_hex())
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Hashes content with SHA-256, piece by piece.
#[derive(Default)]
pub struct FileHasher(Sha256);

impl FileHasher {
    /// Creates an empty hasher.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds content.
    pub fn update(&mut self, content: &[u8]) {
        self.0.update(content);
    }

    /// Returns the digest.
    pub fn finish(self) -> Sha256Digest {
        Sha256Digest(self.0.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_has_one_spelling() {
        let digest = Sha256Digest::of(b"");
        let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!((digest.to_string().as_str(), text.parse()), (text, Ok(digest)));
        assert_eq!((digest.to_hex().as_str(), Sha256Digest::from_hex(&text[7..])), (&text[7..], Ok(digest)));
        for bad in [
            &text[7..],
            &text[..70],
            &format!("{text}0"),
            &text.replace('e', "E"),
            &text.replace(":e", ":0x"),
            "sha256:",
            "sha512:00",
            "",
        ] {
            assert_eq!(bad.parse::<Sha256Digest>(), Err(NotSha256), "{bad}");
        }
        assert_eq!(Sha256Digest::from_hex(&format!("0x{}", &text[7..])), Err(NotSha256));
    }
}
