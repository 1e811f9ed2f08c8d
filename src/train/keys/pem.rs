//! PEM, read strictly: one block, nothing around it. OpenSSL's own reader skips what it does not know and may ask the
//! terminal for a password.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{KeyError, MAX_PEM_BYTES};

pub(super) enum Label {
    /// `PUBLIC KEY`
    Spki,
    /// `RSA PUBLIC KEY`
    Pkcs1,
}

const LABELS: [(Label, &str, &str); 2] = [
    (Label::Spki, "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"),
    (Label::Pkcs1, "-----BEGIN RSA PUBLIC KEY-----", "-----END RSA PUBLIC KEY-----"),
];

/// The DER in the one block of `text`; white space may surround the block and stand inside it.
pub(super) fn read(text: &[u8]) -> Result<(Label, Vec<u8>), KeyError> {
    if text.len() > MAX_PEM_BYTES {
        return Err(KeyError::TooLong);
    }
    let text = std::str::from_utf8(text).map_err(|_| KeyError::NotPem)?.trim_ascii();
    for (label, begin, end) in LABELS {
        let Some(body) = text.strip_prefix(begin).and_then(|rest| rest.strip_suffix(end)) else {
            continue;
        };
        // a second block would show here as characters outside base64
        let base64: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        return Ok((label, STANDARD.decode(base64).map_err(|_| KeyError::NotPem)?));
    }
    Err(KeyError::NotPem)
}

pub(super) fn write_spki(der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut text = String::from("-----BEGIN PUBLIC KEY-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text.push_str("-----END PUBLIC KEY-----\n");
    text
}
