//! Manifest of a backup: when it was made, and the digest of each file.

use std::{io::Read, path::Path};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use stationmaster_system::files::input;

use super::{BACKUP_FILES, INSTANCE, LEDGER, StateError};

/// Name of the manifest's file.
pub(super) const FILE: &str = "backup.toml";
/// The version of the format.
const VERSION: u32 = 1;
/// Maximum size of a manifest, in bytes.
const LIMIT: u64 = 64 * 1024;

/// Manifest of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The format's version.
    pub version: u32,
    /// When it was made, RFC 3339.
    pub made: String,
    /// The version of the program that made it.
    pub program: String,
    /// The station, if a configuration named it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub station: Option<String>,
    /// Version of the ledger's schema.
    pub schema: i64,
    /// Number of runs in the ledger.
    pub runs: u64,
    /// The files.
    pub file: Vec<FileEntry>,
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// The file's name.
    pub name: String,
    /// The file's length.
    pub bytes: u64,
    /// SHA-256, hex.
    pub sha256: String,
}

impl Manifest {
    pub(super) fn new(station: Option<&str>, schema: i64, runs: u64, file: Vec<FileEntry>) -> Self {
        Self {
            version: VERSION,
            made: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            station: station.map(str::to_owned),
            schema,
            runs,
            file,
        }
    }

    pub(super) fn text(&self) -> Result<String, StateError> {
        toml::to_string(self).map_err(|error| StateError::unsound(Path::new(FILE), error.to_string()))
    }

    /// Reads a backup's manifest.
    pub(super) fn read(backup: &Path) -> Result<Self, StateError> {
        let path = backup.join(FILE);
        let text = input::read_text(&path, LIMIT).map_err(StateError::io("read", &path))?;
        let flaw = |reason: String| StateError::unsound(&path, reason);
        let manifest: Self = toml::from_str(&text).map_err(|error| flaw(error.message().to_owned()))?;
        if manifest.version != VERSION {
            return Err(flaw(format!("its version is {}; this program supports {VERSION}", manifest.version)));
        }
        let names: Vec<&str> = manifest.file.iter().map(|entry| entry.name.as_str()).collect();
        let known = |name: &&str| BACKUP_FILES.contains(name) && names.iter().filter(|other| *other == name).count() == 1;
        if !names.iter().all(known) || ![LEDGER, INSTANCE].iter().all(|name| names.contains(name)) {
            return Err(flaw(format!("it names files that are not part of a state directory: {}", names.join(", "))));
        }
        Ok(manifest)
    }
}

impl FileEntry {
    /// Describes a file's present contents.
    pub(super) fn of(directory: &Path, name: &str) -> Result<Self, StateError> {
        let path = directory.join(name);
        let mut file = input::open_regular(&path).map_err(StateError::io("read", &path))?;
        let mut hasher = Sha256::new();
        let (mut bytes, mut buffer) = (0, vec![0; 1 << 16]);
        loop {
            let read = file.read(&mut buffer).map_err(StateError::io("read", &path))?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
            bytes += read as u64;
        }
        Ok(Self { name: name.to_owned(), bytes, sha256: const_hex::encode(hasher.finalize()) })
    }
}
