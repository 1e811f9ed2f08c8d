//! Reads a public key from a file or from hex.

use std::path::Path;

use stationmaster_train::keys::PublicKey;

use crate::cli::{error::CliError, key_file};

pub(super) fn read(key: &str) -> Result<PublicKey, CliError> {
    // This cannot be a file's name: the hex of the shortest key is longer than the maximum length of a name.
    if key.len() > 256 && key.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return key_file::public_key_in_hex(key);
    }
    key_file::public_key(Path::new(key))
}
