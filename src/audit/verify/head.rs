//! Text form of a position in a log: `SIZE:HASH`.

use std::{fmt, str::FromStr};

use crate::audit::{read, tree::Hash};

/// A place in a log that was remembered: `SIZE:HASH`, the number of records and the hash of the last of them, hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Number of records.
    pub size: u64,
    /// Hash of the last of them.
    pub hash: Hash,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.size, const_hex::encode(self.hash))
    }
}

impl FromStr for Head {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "a head is SIZE:HASH, as `audit verify` prints it";
        let (size, hash) = text.split_once(':').ok_or(FORM)?;
        Ok(Self { size: size.parse().map_err(|_| FORM)?, hash: read::hash(&hash.to_ascii_lowercase()).ok_or(FORM)? })
    }
}
