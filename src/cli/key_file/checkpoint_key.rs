//! Reads the audit's public key, which may be RSA, EC P-256 or Ed25519.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use openssl::{
    bn::BigNum,
    ec::{EcGroup, EcKey},
    nid::Nid,
    pkey::{Id, PKey, Public},
};

use super::{ExpectedKind, find, parsed, read, wrong, wrong_kind};
use crate::{
    cli::error::CliError,
    key_file::{self, CHECKPOINTS},
};

/// Reads a public key that verifies checkpoints: PEM (with text around it), DER, hex of either, or a JSON Web Key. Returns its
/// SubjectPublicKeyInfo.
pub(in crate::cli) fn checkpoint_key(path: &Path) -> Result<Vec<u8>, CliError> {
    let bytes = read(path)?;
    let found = on_curve(&bytes).map_or_else(|| parsed(&bytes).map(|key| key.to_der()), Ok);
    match found {
        Ok(der) => {
            key_file::check_single(path, &bytes, ExpectedKind::CheckpointKey).map_or(Ok(der), |several| Err(wrong_kind(several)))
        }
        Err(error) => Err(wrong(path, &bytes, ExpectedKind::CheckpointKey)
            .unwrap_or_else(|| CliError::usage(format!("{}: {error}", path.display())).with_hint(CHECKPOINTS))),
    }
}

/// Returns the SubjectPublicKeyInfo of a key that is not RSA.
fn on_curve(file: &[u8]) -> Option<Vec<u8>> {
    let text = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file).trim_ascii();
    let hex: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let inner = const_hex::decode(&hex).ok().filter(|inner| !inner.is_empty());
    let bytes = inner.as_deref().unwrap_or(text);
    let key = match bytes {
        pem if find(pem, b"-----BEGIN PUBLIC KEY-----") => PKey::public_key_from_pem(pem).ok()?,
        jwk if jwk.starts_with(b"{") => of_jwk(jwk)?,
        // Not `text`: the last byte of a key may be that of a space.
        _ if inner.is_none() => PKey::public_key_from_der(file).ok()?,
        der => PKey::public_key_from_der(der).ok()?,
    };
    let is_ours = match key.id() {
        Id::ED25519 => true,
        Id::EC => key.ec_key().ok()?.group().curve_name() == Some(Nid::X9_62_PRIME256V1),
        _ => false,
    };
    if is_ours { key.public_key_to_der().ok() } else { None }
}

/// Parses a JSON Web Key (RFC 7518 §6.2, RFC 8037 §2) of a public key.
fn of_jwk(text: &[u8]) -> Option<PKey<Public>> {
    let value: serde_json::Value = serde_json::from_slice(text).ok()?;
    let member = |name: &str| value.get(name)?.as_str();
    let number = |name: &str| URL_SAFE_NO_PAD.decode(member(name)?).ok();
    if value.get("d").is_some() {
        return None;
    }
    match (member("kty")?, member("crv")?) {
        ("OKP", "Ed25519") => PKey::public_key_from_raw_bytes(&number("x")?, Id::ED25519).ok(),
        ("EC", "P-256") => {
            let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).ok()?;
            let coordinate = |name| BigNum::from_slice(&number(name)?).ok();
            let (x, y) = (coordinate("x")?, coordinate("y")?);
            PKey::from_ec_key(EcKey::from_public_key_affine_coordinates(&group, &x, &y).ok()?).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_der_whose_last_byte_is_a_space_or_the_end_of_a_line_is_read() {
        for last in [b' ', b'\n', b'\t', b'\r', 7] {
            let mut raw = [0x58; 32];
            raw[31] = last;
            let der = PKey::public_key_from_raw_bytes(&raw, Id::ED25519).unwrap().public_key_to_der().unwrap();
            assert_eq!(on_curve(&der), Some(der.clone()));
            assert_eq!(on_curve(const_hex::encode(&der).as_bytes()), Some(der));
        }
    }
}
