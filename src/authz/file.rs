//! Format of access files: strict TOML, readable and editable by people.

use std::path::Path;

use serde::{Deserialize, Serialize};
use stationmaster_system::files::guarded::Reader;

use super::{AccessError, Grant, Grants, grant::GrantSpec};
use crate::watched_file;

/// The version of the format.
const VERSION: u32 = 1;

const HEADER: &str = "\
# Grants of access to this station's service. Access is denied by default. `stationmaster access` writes this file, and
# administrators may edit it: a running service reads it again when it changes. `stationmaster access` keeps `comment`, but not
# lines like this one.
#
#   principal  unix:uid=1000, unix:gid=100, dns:airflow.hospital.example, spiffe://hospital.example/airflow
#   rpcs       names of RPCs
#   keys       labels, or \"*\"; for RPCs that use or show keys, or work on runs
#   purposes   \"general\", \"train\"; without it Sign and UnwrapKey are for general keys only
#   trains     ids of trains; without it all trains

";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    grant: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    principal: String,
    rpcs: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purposes: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trains: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
}

/// Reads a file.
///
/// # Errors
/// When it cannot be read or used.
pub fn read(file: &Path) -> Result<Grants, AccessError> {
    parse(&watched_file::read(file, Reader::Command)?, file)
}

/// Parses a text; `file` is named in errors.
///
/// # Errors
/// When it is invalid. A text with nothing but comments grants nothing.
pub fn parse(bytes: &[u8], file: &Path) -> Result<Grants, AccessError> {
    // An empty file revokes every grant: an administrator empties it to shut all callers out, and no file that still grants something
    // reads as empty.
    if watched_file::is_blank(bytes) {
        return Ok(Grants::default());
    }
    let syntax = |line: usize, message: String| AccessError::Syntax { file: file.to_owned(), line, message };
    let document: Document = watched_file::toml(bytes).map_err(|(line, message)| syntax(line, message))?;
    if document.version != VERSION {
        return Err(syntax(1, format!("version {} is not {VERSION}", document.version)));
    }
    let mut grants = Grants::default();
    for (at, entry) in document.grant.iter().enumerate() {
        let stated = GrantSpec {
            principal: &entry.principal,
            rpcs: &entry.rpcs,
            keys: entry.keys.as_deref(),
            purposes: entry.purposes.as_deref(),
            trains: entry.trains.as_deref(),
            comment: entry.comment.as_deref(),
        };
        grants.add(Grant::new(&stated).map_err(|cause| AccessError::Grant { file: file.to_owned(), number: at + 1, cause })?);
    }
    Ok(grants)
}

/// Returns grants as the text of a file.
#[must_use]
pub fn text(grants: &Grants) -> String {
    let entry = |grant: &Grant| Entry {
        principal: grant.principal().to_string(),
        rpcs: grant.rpcs().map(|rpc| rpc.name().to_owned()).collect(),
        keys: grant.keys(),
        purposes: grant.purposes(),
        trains: grant.trains(),
        comment: grant.comment().map(str::to_owned),
    };
    let document = Document { version: VERSION, grant: grants.all().iter().map(entry).collect() };
    // Plain text and numbers only, in an order that TOML can write.
    HEADER.to_owned() + &toml::to_string_pretty(&document).unwrap_or_default()
}

/// Changes a file; see [`watched_file::update_parsed`].
///
/// # Errors
/// `change`'s own, or when the file cannot be read, used or written.
pub fn update<T, E: From<AccessError>>(file: &Path, change: impl FnOnce(&mut Grants) -> Result<T, E>) -> Result<T, E> {
    watched_file::update_parsed(file, parse, text, change)
}

#[cfg(test)]
mod tests {
    use crate::authz::file::*;

    const GOOD: &str = "version = 1\n[[grant]]\nprincipal = \"unix:uid=7\"\nrpcs = [\"Sign\", \"PreRun\"]\nkeys = [\"a\"]\n\
        purposes = [\"general\", \"train\"]\ntrains = [\"t\"]\ncomment = \"c\"\n";

    #[test]
    fn what_is_written_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("access.toml");
        let grants = parse(GOOD.as_bytes(), &file).unwrap();
        update(&file, |new| {
            *new = grants.clone();
            Ok::<_, AccessError>(())
        })
        .unwrap();
        assert_eq!(read(&file).unwrap(), grants);
    }

    #[test]
    fn what_is_no_access_file_is_refused_with_its_place() {
        let at = Path::new("a.toml");
        for (text, line) in
            [("\0", 1), ("version = 2", 1), ("version = 1\nnobody = 1\n", 2), ("version = 1\n[[grant]]\nrpcs = 1\n", 3)]
        {
            let Err(AccessError::Syntax { line: found, .. }) = parse(text.as_bytes(), at) else { panic!("{text:?}") };
            assert!(found <= line, "{text:?}");
        }
        let second = format!("{GOOD}[[grant]]\nprincipal = \"somebody\"\nrpcs = [\"PreRun\"]\n");
        assert!(matches!(parse(second.as_bytes(), at), Err(AccessError::Grant { number: 2, .. })));
    }
}
