//! Reads a public key from a file or from hex.

use std::path::Path;

use stationmaster_train::keys::PublicKey;

use crate::cli::{error::CliError, key_file};

pub(super) fn read(given: &str) -> Result<PublicKey, CliError> {
    // No file is called like that: the hex of the shortest key is longer than a name may be.
    if given.len() > 256 && given.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return key_file::public_key_in_hex(given);
    }
    key_file::public_key(Path::new(given))
}
