//! A public key as people have it at hand: a file of PEM, hex of PEM or DER, or the hex itself.

use std::{fs, path::Path};

use crate::{
    cli::error::CliError,
    train::{config::HexText, keys::PublicKey},
};

pub(super) fn read(given: &str) -> Result<PublicKey, CliError> {
    let flaw = |error| CliError::usage(error).with_hint("an RSA public key of 2048 to 8192 bits, as PEM, DER, or hex of PEM");
    // No file is called like that: the hex of the shortest key is longer than a name may be.
    if given.len() > 256 && given.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return PublicKey::from_hex_pem(&HexText::new(given)).map_err(flaw);
    }
    let path = Path::new(given);
    let bytes = fs::read(path).map_err(|error| CliError::file("read", path, &error))?;
    if bytes.trim_ascii_start().starts_with(b"-----") {
        return PublicKey::from_pem(&bytes).map_err(flaw);
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => PublicKey::from_hex_pem(&HexText::new(text.trim())).map_err(flaw),
        Err(_) => PublicKey::from_spki_der(&bytes).map_err(flaw),
    }
}
