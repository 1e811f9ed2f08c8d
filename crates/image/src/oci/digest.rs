//! SHA-256 digests as images name their parts by (OCI descriptor.md "Digests").

use std::{fmt, str::FromStr};

use stationmaster_train::digest::FileHasher;

use crate::ImageError;

/// Folder of blobs in an OCI layout, and the prefix of a blob's name.
pub(crate) const BLOBS: &str = "blobs/sha256/";

/// A SHA-256 digest. Its text is `sha256:` and 64 lower-case hex digits; no other spelling is accepted.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256Digest([u8; 32]);

impl Sha256Digest {
    /// Returns the digest of bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = FileHasher::new();
        hasher.update(bytes);
        Self(hasher.finish())
    }

    /// Parses a digest without its prefix.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let is_lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        const_hex::decode_to_array(is_lower.then_some(text)?).ok().map(Self)
    }

    /// Returns the name of the blob with this digest, which is always below `blobs`.
    #[must_use]
    pub fn blob_name(&self) -> String {
        format!("{BLOBS}{}", const_hex::encode(self.0))
    }
}

impl From<[u8; 32]> for Sha256Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl FromStr for Sha256Digest {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        text.strip_prefix("sha256:").and_then(Self::from_hex).ok_or(ImageError::Malformed("a digest that is not sha256"))
    }
}

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", const_hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use crate::oci::digest::*;

    #[test]
    fn a_digest_has_one_spelling() {
        let digest = Sha256Digest::of(b"");
        let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!((digest.to_string().as_str(), text.parse::<Sha256Digest>().unwrap()), (text, digest));
        assert_eq!(digest.blob_name(), format!("blobs/sha256/{}", &text[7..]));
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
            assert!(bad.parse::<Sha256Digest>().is_err(), "{bad}");
        }
        assert!(Sha256Digest::from_hex(&text[7..]).is_some() && Sha256Digest::from_hex(&format!("0x{}", &text[7..])).is_none());
    }
}
