//! The officers that are in force: those of the configured file, and where a change of officers is a guarded act, those that were
//! accepted.

use std::{
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use stationmaster_system::files::{Directory, guarded::Reader, input};

use super::{officers::Officers, refused};
use crate::{
    audit::Event,
    cli::{
        admin_audit::{self, Permit},
        error::{CliError, Exit},
    },
    config::{Config, GuardedAct},
    watched_file::{self, FileError},
};

/// Maximum size of a file of officers, in bytes.
const LIMIT: u64 = 256 << 10;
/// The accepted file, in the directory of requests.
const IN_FORCE: &str = "officers.toml";

/// Returns the officers: of the configured file, and of those in force if the change of officers is a guarded act.
pub(super) fn officers(config: &Config, directory: &Directory, act: GuardedAct) -> Result<Officers, CliError> {
    let (path, bytes) = configured(config)?;
    let officers = Officers::parse(&bytes, &path)?;
    if !config.four_eyes.guards(GuardedAct::OfficersChange) {
        return Ok(officers);
    }
    let before = match directory.open_file(IN_FORCE) {
        Ok(file) => input::read(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())), LIMIT)
            .map_err(|error| CliError::directory("read", directory.path(), &error))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let entry = admin_audit::entry(Event::OfficersChanged, "four eyes")
                .with("officers", officers.json())
                .with("digest", digest(&bytes))
                .with("first", true);
            let permit = Permit { act: GuardedAct::OfficersChange, approval: None };
            admin_audit::carry_out_guarded(&config.audit_directory(), entry, permit, || put_in_force(directory, &bytes))?;
            return Ok(officers);
        }
        Err(error) => return Err(CliError::directory("read", directory.path(), &error)),
    };
    if before == bytes {
        return Ok(officers);
    }
    if act != GuardedAct::OfficersChange {
        return Err(refused(format!("{} was changed, and its officers are not in force", path.display()))
            .with_hint("`stationmaster approval accept-officers` requests that they are; an officer in both files approves it"));
    }
    Ok(officers.also_in(&Officers::parse(&before, &directory.path().join(IN_FORCE))?))
}

/// Returns what the change of officers is about.
pub(in crate::cli) fn officers_change(config: &Config) -> Result<Value, CliError> {
    let (path, bytes) = configured(config)?;
    let officers = Officers::parse(&bytes, &path)?;
    Ok(json!({ "file": path, "digest": digest(&bytes), "officers": officers.json() }))
}

/// Reads the file of officers; only root and the command's user may have write access to it.
fn configured(config: &Config) -> Result<(PathBuf, Vec<u8>), CliError> {
    let path = config.four_eyes.officers.clone().ok_or_else(|| {
        CliError::usage("the configuration names no officers")
            .with_hint("[four_eyes] officers names their file (docs/four-eyes.md)")
    })?;
    let bytes = watched_file::read(&path, Reader::Service)
        .map_err(|error: FileError| CliError::new(Exit::of_io(error.kind()), format!("the officers: {error}")))?;
    if bytes.len() as u64 > LIMIT {
        return Err(CliError::usage(format!("{} is longer than {LIMIT} bytes", path.display())));
    }
    Ok((path, bytes))
}

fn put_in_force(directory: &Directory, bytes: &[u8]) -> Result<(), CliError> {
    directory.replace(IN_FORCE, 0o600, bytes).map_err(|error| CliError::directory("write to", directory.path(), &error))
}

/// Puts the officers of the configured file in force.
///
/// # Errors
/// When it cannot be written.
pub(super) fn accept(config: &Config, directory: &Directory, permit: Permit, approved: &Value) -> Result<Value, CliError> {
    let (path, bytes) = configured(config)?;
    let officers = Officers::parse(&bytes, &path)?;
    if approved["digest"] != digest(&bytes) {
        return Err(
            CliError::new(Exit::State, format!("{} was changed meanwhile", path.display())).with_hint("repeat the command")
        );
    }
    let entry = admin_audit::entry(Event::OfficersChanged, "approval accept-officers")
        .with("officers", officers.json())
        .with("digest", digest(&bytes));
    admin_audit::carry_out_guarded(&config.audit_directory(), entry, permit, || put_in_force(directory, &bytes))?;
    Ok(officers.json())
}

fn digest(bytes: &[u8]) -> String {
    const_hex::encode(Sha256::digest(bytes))
}
