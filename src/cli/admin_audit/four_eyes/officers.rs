//! The file of officers: strict TOML with a name and a public key for each.

use std::{collections::BTreeSet, path::Path};

use openssl::pkey::{PKey, Public};
use serde::Deserialize;
use serde_json::{Value, json};

use super::officer_key;
use crate::{cli::error::CliError, watched_file};

/// Maximum number of officers.
const MOST: usize = 64;
/// Maximum length of a name, in bytes.
const LONGEST_NAME: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    #[serde(default)]
    officer: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    key: String,
}

/// An officer.
pub(super) struct Officer {
    pub name: String,
    pub fingerprint: String,
    pub key: PKey<Public>,
}

/// The officers: at least two, each with a name and a key of its own.
pub(super) struct Officers(Vec<Officer>);

impl Officers {
    pub(super) fn parse(bytes: &[u8], file: &Path) -> Result<Self, CliError> {
        let flaw = |message: String| {
            CliError::usage(format!("{}: {message}", file.display())).with_hint("docs/four-eyes.md shows a file of officers")
        };
        let document: Document = watched_file::toml(bytes).map_err(|(line, message)| flaw(format!("line {line}: {message}")))?;
        if document.version != 1 {
            return Err(flaw(format!("version {} is not 1", document.version)));
        }
        if !(2..=MOST).contains(&document.officer.len()) {
            return Err(flaw(format!("it names {} officers; 2 to {MOST} are possible", document.officer.len())));
        }
        let mut officers = Vec::new();
        let (mut names, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for Entry { name, key } in document.officer {
            if name.is_empty() || name.len() > LONGEST_NAME || name.trim() != name || name.chars().any(char::is_control) {
                return Err(flaw(format!("{name:?} is no name: 1 to {LONGEST_NAME} bytes without control characters")));
            }
            let (key, fingerprint) = officer_key::public_key(&key).map_err(|why| flaw(format!("the key of {name:?}: {why}")))?;
            if !names.insert(name.to_lowercase()) || !keys.insert(fingerprint.clone()) {
                return Err(flaw(format!("the name or the key of {name:?} is there twice")));
            }
            officers.push(Officer { name, fingerprint, key });
        }
        Ok(Self(officers))
    }

    /// Returns the officer with this key.
    pub(super) fn by_key(&self, fingerprint: &str) -> Option<&Officer> {
        self.0.iter().find(|officer| officer.fingerprint == fingerprint)
    }

    /// Returns the officers that another file names, too, with the same key.
    pub(super) fn also_in(self, other: &Self) -> Self {
        let is_there = |officer: &Officer| other.by_key(&officer.fingerprint).is_some_and(|found| found.name == officer.name);
        Self(self.0.into_iter().filter(is_there).collect())
    }

    pub(super) fn json(&self) -> Value {
        self.0.iter().map(|officer| json!({ "name": officer.name, "fingerprint": officer.fingerprint })).collect()
    }
}
