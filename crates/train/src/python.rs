//! Python's number spellings. Every other station reads and writes the train's config with Python, and Python's spelling of a
//! number is hashed and written back (`docs/wire-format.md §2.2`, `§2.3`).

use std::fmt;

/// Python's default limit of decimal digits in `int(str)` and in JSON (`sys.int_info.default_max_str_digits`).
const MAX_DIGITS: usize = 4300;

/// The zeros of all Unicode decimal digit runs outside ASCII (Unicode 14, Python 3.11): `int("٣")` is 3 there.
const UNICODE_ZEROS: [u32; 65] = [
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0, 0xf20, 0x1040,
    0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0,
    0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x104a0, 0x10d30, 0x11066, 0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650,
    0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50, 0x11da0, 0x16a60, 0x16ac0, 0x16b50, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec,
    0x1d7f6, 0x1e140, 0x1e2f0, 0x1e950, 0x1fbf0,
];

/// A whole number of any size, kept as canonical decimal text: no leading zeros, no `+`, no `-0`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Integer(String);

impl Integer {
    /// Returns the canonical decimal text, e.g. `-12`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the value, if it fits 64 bits.
    pub fn to_i64(&self) -> Option<i64> {
        self.0.parse().ok()
    }

    /// Returns what Python's `int(text)` returns, or `None` where Python raises: surrounding white space, one sign, single
    /// underscores between digits and the decimal digits of any script are accepted.
    pub fn from_python_text(text: &str) -> Option<Self> {
        let text = text.trim_matches(is_python_space);
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let mut decimal = String::new();
        let mut underscore_allowed = false;
        for c in digits.chars() {
            if c == '_' && underscore_allowed {
                underscore_allowed = false;
                continue;
            }
            decimal.push(decimal_digit(c)?);
            underscore_allowed = true;
        }
        // An empty text or a trailing underscore.
        if !underscore_allowed || decimal.len() > MAX_DIGITS {
            return None;
        }
        Some(Self::canonical(negative, &decimal))
    }

    /// Returns what Python's `int(float)` returns: the value truncated towards zero, exactly. `None` unless finite.
    pub fn from_float(value: f64) -> Option<Self> {
        if !value.is_finite() {
            return None;
        }
        let text = format!("{:.0}", value.trunc().abs());
        Some(Self::canonical(value < 0.0, &text))
    }

    /// Converts an ASCII decimal JSON number without fraction or exponent.
    pub(super) fn from_json_digits(text: &str) -> Self {
        match text.strip_prefix('-') {
            Some(digits) => Self::canonical(true, digits),
            None => Self::canonical(false, text),
        }
    }

    fn canonical(negative: bool, digits: &str) -> Self {
        let digits = digits.trim_start_matches('0');
        match (digits.is_empty(), negative) {
            (true, _) => Self("0".to_owned()),
            (false, true) => Self(format!("-{digits}")),
            (false, false) => Self(digits.to_owned()),
        }
    }
}

impl From<i64> for Integer {
    fn from(value: i64) -> Self {
        Self(value.to_string())
    }
}

impl fmt::Display for Integer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the shortest spelling that reads back as `value`, as Python's `repr` writes it (`1e+20`, `1e-07`, `-0.0`, `12.0`).
/// `value` must be finite.
pub(super) fn float_repr(value: f64) -> String {
    // Rust's `{:e}` has the same shortest digits; only the position of Python's point differs.
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    match exponent {
        -4..=-1 => format!("{sign}0.{}{digits}", "0".repeat((-exponent - 1) as usize)),
        0..=15 => {
            let whole = exponent as usize + 1;
            if digits.len() <= whole {
                format!("{sign}{digits}{}.0", "0".repeat(whole - digits.len()))
            } else {
                format!("{sign}{}.{}", &digits[..whole], &digits[whole..])
            }
        }
        _ => {
            let (first, rest) = digits.split_at(1);
            let point = if rest.is_empty() { "" } else { "." };
            let direction = if exponent < 0 { '-' } else { '+' };
            format!("{sign}{first}{point}{rest}e{direction}{:02}", exponent.unsigned_abs())
        }
    }
}

/// Whether `int()` strips this character. ASCII separators 0x1c to 0x1f are not stripped, although `str.isspace` counts them.
fn is_python_space(c: char) -> bool {
    if c.is_ascii() { matches!(c, ' ' | '\t'..='\r') } else { c.is_whitespace() }
}

fn decimal_digit(c: char) -> Option<char> {
    if c.is_ascii_digit() {
        return Some(c);
    }
    let code = u32::from(c);
    let zero = UNICODE_ZEROS.iter().rev().find(|zero| **zero <= code)?;
    char::from_digit(code - zero, 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_spelled_as_python_spells_them() {
        for (value, text) in [
            (1e20, "1e+20"),
            (1e-7, "1e-07"),
            (-0.0, "-0.0"),
            (0.0, "0.0"),
            (12.0, "12.0"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e16, "1e+16"),
            (9007199254740993.0, "9007199254740992.0"),
            (1234567890123456.7, "1234567890123456.8"),
            (1.2345678901234568e17, "1.2345678901234568e+17"),
            (-1.5e-300, "-1.5e-300"),
            (5e-324, "5e-324"),
            (123.456, "123.456"),
        ] {
            assert_eq!(float_repr(value), text);
        }
    }

    #[test]
    fn text_becomes_a_number_exactly_where_python_int_accepts_it() {
        for (text, number) in [
            ("0123", Some("123")),
            ("1_000", Some("1000")),
            (" 7 ", Some("7")),
            ("-0", Some("0")),
            ("+0_0", Some("0")),
            ("\u{663}", Some("3")),
            ("\u{a0}7\u{2003}", Some("7")),
            ("\u{1d7d8}", Some("0")),
            ("1__0", None),
            ("_1", None),
            ("1_", None),
            ("- 5", None),
            ("--5", None),
            ("", None),
            ("+", None),
            ("\u{b2}", None),
            ("\u{1c}7\u{1f}", None),
            ("12.7", None),
            ("7\0", None),
        ] {
            assert_eq!(Integer::from_python_text(text).as_ref().map(Integer::as_str), number, "{text:?}");
        }
    }

    #[test]
    fn more_digits_than_python_takes_stay_text() {
        assert!(Integer::from_python_text(&"9".repeat(4300)).is_some());
        assert!(Integer::from_python_text(&"9".repeat(4301)).is_none());
    }

    #[test]
    fn floats_are_cut_towards_zero_exactly() {
        assert_eq!(Integer::from_float(-12.7).unwrap().as_str(), "-12");
        assert_eq!(Integer::from_float(-0.5).unwrap().as_str(), "0");
        assert_eq!(Integer::from_float(1e23).unwrap().as_str(), "99999999999999991611392");
        assert!(Integer::from_float(f64::INFINITY).is_none());
    }
}
