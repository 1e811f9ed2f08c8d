//! Strict JSON parser for untrusted text, and a writer that matches Python's output (`docs/wire-format.md §2.2`, `§2.3`).
//!
//! Parsing is stricter than Python: a duplicate key, `NaN`, `Infinity`, a number too large for a float and a lone surrogate
//! are rejected, because two readers could see two different trains in them.

mod parse;
mod write;

use super::Integer;

/// Maximum nesting depth of arrays and objects.
pub const MAX_DEPTH: usize = 64;
/// Maximum number of values (of any kind, at any level) in one text. It limits memory.
pub const MAX_VALUES: usize = 120_000;

/// A JSON value. Objects keep the order of their keys, which are unique; integers are exact; floats are finite.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number without fraction and exponent.
    Int(Integer),
    /// A number with fraction or exponent.
    Float(f64),
    /// A string, unescaped.
    Text(String),
    /// `[…]`
    Array(Vec<Json>),
    /// `{…}`
    Object(Vec<(String, Json)>),
}

/// Error of parsing JSON. The sender's fault; a retry with the same text does not help. Offsets are bytes from the start, near
/// the fault. No message contains any of the text itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not UTF-8.
    #[error("not UTF-8 text")]
    NotUtf8,
    /// Broken syntax, a byte order mark, a lone surrogate, or something after the value.
    #[error("broken JSON near byte {offset}")]
    Syntax {
        /// Bytes from the start.
        offset: usize,
    },
    /// An object has a duplicate key.
    #[error("an object that ends near byte {offset} names a key twice")]
    DuplicateKey {
        /// Bytes from the start.
        offset: usize,
    },
    /// `NaN`, `Infinity`, or a number that a 64-bit float cannot represent.
    #[error("a number that is not finite near byte {offset}")]
    NotFinite {
        /// Bytes from the start.
        offset: usize,
    },
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// More than [`MAX_VALUES`] values.
    #[error("more than {MAX_VALUES} values")]
    TooManyValues,
}

impl Json {
    /// Parses one JSON text from untrusted bytes.
    pub fn parse(text: &[u8]) -> Result<Self, JsonError> {
        parse::parse(text)
    }

    /// Returns exactly what Python's `json.dumps(value, indent=2)` writes: two spaces, `": "`, all but printable ASCII as
    /// lower-case `\uXXXX`, no trailing newline.
    pub fn to_python_text(&self) -> String {
        write::write(self)
    }
}
