//! Strict PEM reader: one block, with surrounding text as train_lib and OpenSSL both accept it (a byte order mark, "Bag
//! Attributes", a note). A text from which the two could read different keys is rejected. OpenSSL's own reader is not used: it
//! skips blocks that it does not know, and may ask the terminal for a password.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{KeyError, MAX_PEM_BYTES};

pub(super) enum Label {
    /// `PUBLIC KEY`
    Spki,
    /// `RSA PUBLIC KEY`
    Pkcs1,
}

const LABELS: [(Label, &str); 2] = [(Label::Spki, "PUBLIC KEY-----"), (Label::Pkcs1, "RSA PUBLIC KEY-----")];
const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";

/// Returns the DER of the only block of `text`. White space may occur inside it, and text around it.
pub(super) fn read(text: &[u8]) -> Result<(Label, Vec<u8>), KeyError> {
    if text.len() > MAX_PEM_BYTES {
        return Err(KeyError::TooLong);
    }
    let start = find(text, BEGIN).ok_or(KeyError::NotPem)?;
    // If a block begins within a line, one of the two reads it and the other searches for the next.
    let line = text[..start].rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    if !line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line).trim_ascii().is_empty() {
        return Err(KeyError::NotPem);
    }
    let block = &text[start + BEGIN.len()..];
    for (label, name) in LABELS {
        let Some(rest) = block.strip_prefix(name.as_bytes()) else { continue };
        let end = find(rest, END).ok_or(KeyError::NotPem)?;
        let after = rest[end + END.len()..].strip_prefix(name.as_bytes()).ok_or(KeyError::NotPem)?;
        if find(after, BEGIN).is_some() {
            return Err(KeyError::NotPem);
        }
        // Headers of old PEM would appear here as characters outside base64.
        let base64: Vec<u8> = rest[..end].iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        return Ok((label, STANDARD.decode(base64).map_err(|_| KeyError::NotPem)?));
    }
    Err(KeyError::NotPem)
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
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
