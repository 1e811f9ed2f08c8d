//! Scalar types of the config: ids (number or text) and hex text.

use std::fmt;

use crate::Integer;

/// An id that is a number or text. Text that Python's `int()` accepts is converted to a number when it is read, and the
/// number's spelling is hashed and written back (`docs/wire-format.md §2.2`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Id {
    /// A number of any size.
    Int(Integer),
    /// Any other text.
    Text(String),
}

impl Id {
    /// Returns the id that `text` becomes on the wire: `"0123"` is the number 123.
    pub fn from_text(text: String) -> Self {
        match Integer::from_python_text(&text) {
            Some(number) => Self::Int(number),
            None => Self::Text(text),
        }
    }

    /// Returns the text of a text id. A numeric id never equals one: train_lib compares without conversion.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Int(_) => None,
            Self::Text(text) => Some(text),
        }
    }
}

/// Formats as Python's `str(id)`, the input of the immutable digest.
impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Text that should be hex. It is kept verbatim, since it is written back as it was read; only [`HexText::decode`] checks it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HexText(String);

/// The text is not hex. The sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not hex")]
pub struct HexError;

impl HexText {
    /// Wraps text without checking it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the lower-case hex of `bytes`, as train_lib writes it.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(const_hex::encode(bytes))
    }

    /// Returns the text verbatim.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Decodes the bytes as Python's `bytes.fromhex` does: either case, ASCII white space between (not within) bytes.
    pub fn decode(&self) -> Result<Vec<u8>, HexError> {
        let mut bytes = Vec::with_capacity(self.0.len() / 2);
        let mut text = self.0.as_bytes().iter();
        while let Some(&high) = text.next() {
            if matches!(high, b' ' | b'\t'..=b'\r') {
                continue;
            }
            let low = *text.next().ok_or(HexError)?;
            bytes.push(nibble(high)? << 4 | nibble(low)?);
        }
        Ok(bytes)
    }
}

impl fmt::Debug for HexText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HexText").field(&self.0).finish()
    }
}

fn nibble(digit: u8) -> Result<u8, HexError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(HexError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_read_as_python_reads_it() {
        let decode = |text: &str| HexText::new(text).decode();
        assert_eq!(decode(" 0a\tFf\n\u{b}\u{c}\r00 "), Ok(vec![0x0a, 0xff, 0]));
        assert_eq!(decode(""), Ok(vec![]));
        for text in ["0", "0 a", "zz", "0x00", "é0", "00\u{a0}", "00\0", "00\u{1c}"] {
            assert_eq!(decode(text), Err(HexError), "{text:?}");
        }
    }

    #[test]
    fn numeric_text_becomes_a_number() {
        assert_eq!(Id::from_text("0123".to_owned()).to_string(), "123");
        assert_eq!(Id::from_text("7".to_owned()).as_text(), None);
        assert_eq!(Id::from_text("7a".to_owned()).as_text(), Some("7a"));
    }
}
