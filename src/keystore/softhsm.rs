//! Private SoftHSM tokens for development and tests.
//!
//! SoftHSM reads the path of its configuration from `SOFTHSM2_CONF` when the module is initialised. In edition 2024
//! `std::env::set_var` is unsafe: `main` must set it before any thread starts, and before the first
//! [`Keystore::open`](super::Keystore::open) or call to [`admin`](super::admin).

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The environment variable that names SoftHSM's configuration file.
pub const CONF_VARIABLE: &str = "SOFTHSM2_CONF";

/// The environment variable that names the module itself, for places that are not usual.
pub const MODULE_VARIABLE: &str = "SOFTHSM2_MODULE";

/// The template that `softhsm/init.sh` fills in as well.
const TEMPLATE: &str = include_str!("../../softhsm/softhsm2.conf.in");

/// Where Debian, Fedora, Arch, SUSE, Alpine, a local build and Homebrew put the module.
const USUAL_PLACES: [&str; 9] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib64/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
];

/// Makes `dir/tokens` (mode 0700, with `dir` when it is missing) and `dir/softhsm2.conf`, and answers the latter's path. An
/// existing token directory is kept; the configuration is written anew.
///
/// # Errors
/// What the file system says; and `InvalidInput` when the path holds a line break, which the format cannot carry.
pub fn write_conf(dir: &Path) -> io::Result<PathBuf> {
    let dir = std::path::absolute(dir)?;
    let tokens = dir.join("tokens");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&tokens)?;
    let Some(place) = tokens.to_str().filter(|place| !place.contains(['\n', '\r'])) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the token directory's path cannot be written in softhsm2.conf"));
    };
    let conf = dir.join("softhsm2.conf");
    fs::write(&conf, TEMPLATE.replace("@TOKENDIR@", place))?;
    Ok(conf)
}

/// The SoftHSM module: `$SOFTHSM2_MODULE` when set, otherwise the first of the usual places that is there.
pub fn find_module() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(MODULE_VARIABLE) {
        return Some(PathBuf::from(named));
    }
    USUAL_PLACES.iter().map(PathBuf::from).find(|place| place.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_conf_names_a_private_token_directory() {
        let dir = tempfile::tempdir().unwrap();
        let conf = write_conf(&dir.path().join("hsm")).unwrap();
        let text = fs::read_to_string(&conf).unwrap();
        assert!(text.contains(&format!("directories.tokendir = {}", dir.path().join("hsm/tokens").display())), "{text}");
        assert!(!text.contains('@'));
        let mode = fs::metadata(dir.path().join("hsm/tokens")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        write_conf(&dir.path().join("hsm")).unwrap();
    }
}
