//! Reads files with keys and certificates that options name, as the expected kind ([`crate::key_file`]).

mod checkpoint_key;

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use stationmaster_system::files::input;
use stationmaster_train::{
    config::HexText,
    keys::{KeyError, PublicKey},
};
use zeroize::Zeroizing;

pub(super) use checkpoint_key::checkpoint_key;

use super::error::CliError;
pub(super) use crate::key_file::ExpectedKind;
use crate::{key_file, key_file::PUBLIC};

/// Longest file that is read, in bytes: chains of certificates fit.
const LONGEST: u64 = 1 << 20;

/// Reads a file for one of the options that take keys or certificates. Its memory is wiped: it may be a private key.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let trouble = |error: std::io::Error| CliError::file("read", path, &error);
    // Allocated beforehand, because a growing buffer leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST as usize + 1));
    input::read_into(path, LONGEST, &mut bytes).map_err(trouble)?;
    Ok(bytes)
}

/// Reads a public key from a file: PEM (with text around it), DER, hex of either, or a JSON Web Key.
pub(super) fn public_key(path: &Path) -> Result<PublicKey, CliError> {
    let bytes = read(path)?;
    match parsed(&bytes) {
        Ok(key) => {
            key_file::check_single(path, &bytes, ExpectedKind::PublicKey).map_or(Ok(key), |several| Err(wrong_kind(several)))
        }
        Err(error) => Err(wrong(path, &bytes, ExpectedKind::PublicKey).unwrap_or_else(|| flaw(path, error))),
    }
}

/// Parses a public key from hex of PEM or DER.
pub(super) fn public_key_in_hex(text: &str) -> Result<PublicKey, CliError> {
    let path = Path::new("the hex");
    let bytes = HexText::new(text).decode().map_err(|_| flaw(path, KeyError::NotHex))?;
    parsed(&bytes).map_err(|error| wrong(path, &bytes, ExpectedKind::PublicKey).unwrap_or_else(|| flaw(path, error)))
}

/// Reads a file, if it is of the required kind.
pub(super) fn pem(path: &Path, wanted: ExpectedKind) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let bytes = read(path)?;
    match wrong(path, &bytes, wanted) {
        Some(error) => Err(error),
        None => Ok(bytes),
    }
}

fn flaw(path: &Path, error: KeyError) -> CliError {
    CliError::usage(format!("{}: {error}", path.display())).with_hint(PUBLIC)
}

fn parsed(bytes: &[u8]) -> Result<PublicKey, KeyError> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii();
    if let Some(key) = jwk(text) {
        return key;
    }
    if find(bytes, b"-----BEGIN ") {
        return PublicKey::from_pem(bytes);
    }
    if !text.is_empty() && text.iter().all(|byte| byte.is_ascii_hexdigit() || byte.is_ascii_whitespace()) {
        let hex: String = text.iter().filter(|byte| byte.is_ascii_hexdigit()).map(|byte| char::from(*byte)).collect();
        let inner = HexText::new(hex).decode().map_err(|_| KeyError::NotHex)?;
        return if find(&inner, b"-----BEGIN ") { PublicKey::from_pem(&inner) } else { of_der(&inner) };
    }
    of_der(bytes)
}

/// Parses SubjectPublicKeyInfo, or PKCS#1.
fn of_der(der: &[u8]) -> Result<PublicKey, KeyError> {
    PublicKey::from_spki_der(der).or_else(|error| {
        let pkcs1 = openssl::rsa::Rsa::public_key_from_der_pkcs1(der).map_err(|_| error)?;
        if pkcs1.public_key_to_der_pkcs1().map_err(|_| KeyError::Unavailable)? != der {
            return Err(KeyError::NotRsa);
        }
        PublicKey::from_components(&pkcs1.n().to_vec(), &pkcs1.e().to_vec())
    })
}

/// Parses a JSON Web Key of an RSA public key; `None` if the text is not one.
fn jwk(text: &[u8]) -> Option<Result<PublicKey, KeyError>> {
    let value: serde_json::Value = serde_json::from_slice(text).ok()?;
    let number = |name: &str| URL_SAFE_NO_PAD.decode(value.get(name)?.as_str()?).ok();
    if value.get("kty")?.as_str()? != "RSA" || value.get("d").is_some() {
        return None;
    }
    Some(PublicKey::from_components(&number("n")?, &number("e")?))
}

fn wrong(path: &Path, bytes: &[u8], wanted: ExpectedKind) -> Option<CliError> {
    key_file::check_kind(path, bytes, wanted).map(wrong_kind)
}

fn wrong_kind(wrong: key_file::WrongKind) -> CliError {
    CliError::usage(wrong.message).with_hint(wrong.hint)
}

fn find(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

#[cfg(test)]
mod tests;
