//! JSON as it comes from outside and as Python writes it (`docs/wire-format.md §2.2`, `§2.3`).
//!
//! Reading is stricter than Python: a duplicate key, `NaN`, `Infinity`, a number too large for a float and a lone surrogate
//! are refused, because two readers could see two different trains in them.

mod parse;
mod write;

use super::Integer;

/// How deep arrays and objects may nest.
pub const MAX_DEPTH: usize = 64;
/// How many values (of any kind, at any level) one text may hold; bounds memory, not meaning.
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
    /// Text, unescaped.
    Text(String),
    /// `[…]`
    Array(Vec<Json>),
    /// `{…}`
    Object(Vec<(String, Json)>),
}

/// Why a text is not JSON as we accept it. The sender's fault; sending it again does not help. Offsets are bytes from the
/// start, near the fault. No message holds any of the text itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
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
    /// One object names a key twice.
    #[error("an object that ends near byte {offset} names a key twice")]
    DuplicateKey {
        /// Bytes from the start.
        offset: usize,
    },
    /// `NaN`, `Infinity`, or a number no 64-bit float can hold.
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
    /// Reads one JSON text from untrusted bytes.
    pub fn parse(text: &[u8]) -> Result<Self, JsonError> {
        parse::parse(text)
    }

    /// Writes exactly what Python's `json.dumps(value, indent=2)` writes: two spaces, `": "`, all but printable ASCII as
    /// lower-case `\uXXXX`, no trailing newline.
    pub fn to_python_text(&self) -> String {
        write::write(self)
    }
}
