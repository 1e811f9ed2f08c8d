//! Private SoftHSM tokens for development and tests.
//!
//! SoftHSM reads the path of its configuration from `SOFTHSM2_CONF` when the module is initialised. In edition 2024
//! `std::env::set_var` is unsafe: `main` must set it before any thread starts, and before the first
//! [`Keystore::open`](super::Keystore::open) or call to [`admin`](super::admin).

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use stationmaster_system::files::{Directory, input};

/// Environment variable with the path of SoftHSM's configuration file.
pub const CONF_VARIABLE: &str = "SOFTHSM2_CONF";

/// Environment variable with the path of the module, for unusual locations.
const MODULE_VARIABLE: &str = "SOFTHSM2_MODULE";

/// The template, also used by `softhsm/init.sh`.
const TEMPLATE: &str = include_str!("../../../softhsm/softhsm2.conf.in");

/// Locations of the module on Debian, Fedora, Arch, SUSE, Alpine, and after a local build or with Homebrew.
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

/// Creates `dir/tokens` (mode 0700, and `dir` when it is missing) and `dir/softhsm2.conf`, and returns the path of the latter.
/// Keeps an existing token directory; rewrites the configuration.
///
/// # Errors
/// Errors of the file system; `InvalidInput` when the path contains a line break, which the format cannot represent.
pub fn write_conf(dir: &Path) -> io::Result<PathBuf> {
    let dir = std::path::absolute(dir)?;
    let tokens = dir.join("tokens");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&tokens)?;
    let Some(place) = tokens.to_str().filter(|place| !place.contains(['\n', '\r'])) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the token directory's path cannot be written in softhsm2.conf"));
    };
    let conf = dir.join("softhsm2.conf");
    Directory::open(&dir)?.replace("softhsm2.conf", 0o644, TEMPLATE.replace("@TOKENDIR@", place).as_bytes())?;
    Ok(conf)
}

/// Returns the SoftHSM module: `$SOFTHSM2_MODULE` when set, otherwise the first usual location that exists.
pub fn find_module() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(MODULE_VARIABLE) {
        return Some(PathBuf::from(named));
    }
    USUAL_PLACES.iter().map(PathBuf::from).find(|place| place.is_file())
}

/// Returns the directory of SoftHSM's tokens, if the module is SoftHSM and its configuration names one.
pub fn token_directory(module: &Path) -> Option<PathBuf> {
    module.canonicalize().ok()?.file_name()?.to_str().filter(|name| name.contains("softhsm"))?;
    let text = input::read_text(&configuration()?, 1 << 20).ok()?;
    setting(&text, "directories.tokendir").map(PathBuf::from)
}

/// Returns the configuration that SoftHSM reads.
fn configuration() -> Option<PathBuf> {
    let own = std::env::var_os("HOME").map(|home| Path::new(&home).join(".config/softhsm2/softhsm2.conf"));
    let usual = || own.into_iter().chain(USUAL_CONFIGURATION.map(PathBuf::from)).find(|place| place.exists());
    std::env::var_os(CONF_VARIABLE).map(PathBuf::from).or_else(usual)
}

fn setting(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(name)?.trim_start().strip_prefix('='));
    line.map(|value| value.trim().to_owned())
}

/// Returns what prevents SoftHSM from working, as far as its files show; `None` for another module, or when they show nothing.
pub(super) fn diagnose(module: &Path) -> Option<String> {
    let is_softhsm = module.canonicalize().ok()?.file_name()?.to_str()?.contains("softhsm");
    if is_softhsm { examine() } else { None }
}

/// As [`diagnose`], when the module is unknown: only an explicitly named configuration is considered.
pub(super) fn diagnose_usual() -> Option<String> {
    let is_meant = std::env::var_os(CONF_VARIABLE).is_some() || USUAL_CONFIGURATION.iter().any(|place| Path::new(place).exists());
    if is_meant { examine() } else { None }
}

/// Locations of the machine-wide configuration on Debian and after a local build.
const USUAL_CONFIGURATION: [&str; 2] = ["/etc/softhsm/softhsm2.conf", "/etc/softhsm2.conf"];

fn examine() -> Option<String> {
    let by = if std::env::var_os(CONF_VARIABLE).is_some() { " (SOFTHSM2_CONF names it)" } else { "" };
    let Some(conf) = configuration() else {
        return Some("SoftHSM has no configuration: name one in SOFTHSM2_CONF".to_owned());
    };
    let text = match input::read_text(&conf, 1 << 20) {
        Ok(text) => text,
        Err(error) => {
            return Some(format!("SoftHSM's configuration {}{by} cannot be read: {}", conf.display(), refusal(&conf, &error)));
        }
    };
    let setting = |name: &str| setting(&text, name);
    if setting("objectstore.backend").is_some_and(|backend| backend != "file") {
        return Some(format!(
            "SoftHSM is mostly built without this backend: set `objectstore.backend = file` in {}",
            conf.display()
        ));
    }
    let tokens = PathBuf::from(setting("directories.tokendir")?);
    let here = format!("SoftHSM's token directory {} (directories.tokendir in {})", tokens.display(), conf.display());
    let entries = match fs::read_dir(&tokens) {
        Ok(entries) => entries,
        Err(error) => return Some(format!("{here} cannot be read: {}", refusal(&tokens, &error))),
    };
    // A token is a directory that belongs to its creator.
    let closed =
        entries.filter_map(|entry| Some(entry.ok()?.path())).find_map(|token| Some((fs::read_dir(&token).err()?, token)));
    let (error, token) = closed?;
    (error.kind() == io::ErrorKind::PermissionDenied)
        .then(|| format!("a token in {} cannot be read: {}", tokens.display(), refusal(&token, &error)))
}

/// Describes what the system refuses: the file's owner, the requesting user, and the remedy.
fn refusal(path: &Path, error: &io::Error) -> String {
    use std::os::unix::fs::MetadataExt;
    match error.kind() {
        io::ErrorKind::NotFound => "it is not there".to_owned(),
        io::ErrorKind::PermissionDenied => {
            let me = rustix::process::geteuid().as_raw();
            // A path that cannot be read is below a directory that can be.
            match path.ancestors().find_map(|at| Some((at, fs::metadata(at).ok()?))) {
                Some((at, about)) => format!(
                    "permission denied; {} belongs to uid {} and gid {} (mode {:04o}), this process has uid {me}. Run it as that user, put this user into \
                     the group (Debian: `softhsm`), or give the files to it: `chown -R {me} {}`",
                    at.display(),
                    about.uid(),
                    about.gid(),
                    about.mode() & 0o7777,
                    path.display()
                ),
                None => "permission denied".to_owned(),
            }
        }
        kind => kind.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

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
