//! Format of the file of key states: strict TOML, readable by people.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stationmaster_system::files::guarded::Reader;

use super::{KeyState, KeyStateEntry, KeyStates, KeyStatesError};
use crate::watched_file::{self, FileError};

/// The version of the format.
const VERSION: u32 = 1;

const HEADER: &str = "\
# States of this station's train keys. `stationmaster key activate`, `rotate` and `retire` write this file, and a running service reads
# it again when it changes. A train key without an entry is active.
#
#   state  pre-active, active, superseded, retired
#   until  when an active or superseded key becomes retired

";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    key: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    label: String,
    state: String,
    since: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    successor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Reads a file; one that does not exist has no entry.
///
/// # Errors
/// When it cannot be read or used.
pub fn read(file: &Path) -> Result<KeyStates, KeyStatesError> {
    match watched_file::read(file, Reader::Command) {
        Err(FileError::Missing(_)) => Ok(KeyStates::default()),
        other => parse(&other?, file),
    }
}

/// Parses a text; `file` is named in errors.
///
/// # Errors
/// When it is invalid. An empty text is invalid, because it would make retired keys active.
pub fn parse(bytes: &[u8], file: &Path) -> Result<KeyStates, KeyStatesError> {
    let syntax = |line: usize, message: String| KeyStatesError::Syntax { file: file.to_owned(), line, message };
    let document: Document = watched_file::toml(bytes).map_err(|(line, message)| syntax(line, message))?;
    if document.version != VERSION {
        return Err(syntax(1, format!("version {} is not {VERSION}", document.version)));
    }
    let mut states = KeyStates::default();
    for (at, entry) in document.key.into_iter().enumerate() {
        let wrong = |what: &str| syntax(1, format!("[[key]] number {}: {what}", at + 1));
        let time = |text: &str| text.parse::<Timestamp>().map_err(|_| wrong("a time is not in RFC 3339"));
        let made = KeyStateEntry {
            state: KeyState::from_name(&entry.state).ok_or_else(|| wrong("no such state"))?,
            since: time(&entry.since)?,
            until: entry.until.as_deref().map(time).transpose()?,
            successor: entry.successor,
            reason: entry.reason,
        };
        if states.set(&entry.label, made).map_err(&wrong)?.is_some() {
            return Err(wrong("another entry has the same label"));
        }
    }
    Ok(states)
}

/// Returns states as the text of a file.
#[must_use]
pub fn text(states: &KeyStates) -> String {
    let entry = |(label, entry): (&str, &KeyStateEntry)| Entry {
        label: label.to_owned(),
        state: entry.state.name().to_owned(),
        since: entry.since.to_string(),
        until: entry.until.map(|until| until.to_string()),
        successor: entry.successor.clone(),
        reason: entry.reason.clone(),
    };
    let document = Document { version: VERSION, key: states.iter().map(entry).collect() };
    // Plain text and numbers only, in an order that TOML can write.
    HEADER.to_owned() + &toml::to_string_pretty(&document).unwrap_or_default()
}

/// Changes a file; see [`watched_file::update_parsed`].
///
/// # Errors
/// `change`'s own, or when the file cannot be read, used or written.
pub fn update<T, E: From<KeyStatesError>>(file: &Path, change: impl FnOnce(&mut KeyStates) -> Result<T, E>) -> Result<T, E> {
    watched_file::update_parsed(file, parse, text, change)
}

#[cfg(test)]
mod tests {
    use crate::key_states::{file::*, parse_time};

    const ENTRY: &str = "[[key]]\nlabel = \"a\"\nstate = \"superseded\"\nsince = \"2026-12-01T00:00:00Z\"\n";

    fn parsed(text: &str) -> Result<KeyStates, String> {
        parse(text.as_bytes(), Path::new("f")).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_written_is_read_again() {
        let good = format!("version = 1\n{ENTRY}until = \"2027-01-31T00:00:00Z\"\nsuccessor = \"b\"\nreason = \"r\"\n");
        let states = parsed(&good).unwrap();
        assert_eq!(parsed(&text(&states)).unwrap(), states);
        let before = parse_time("2027-01-30").unwrap();
        let after = parse_time("2027-01-31").unwrap();
        assert_eq!((states.state("a", before), states.state("a", after)), (KeyState::Superseded, KeyState::Retired));
        assert_eq!(states.state("another", after), KeyState::Active, "a key without an entry is active");
    }

    #[test]
    fn what_is_not_understood_completely_is_refused() {
        for (what, text) in [
            ("nothing", String::new()),
            ("a comment", "# nothing\n".to_owned()),
            ("another version", "version = 2\n".to_owned()),
            ("an unknown field", format!("version = 1\n{ENTRY}more = 1\n")),
            ("an unknown state", format!("version = 1\n{}", ENTRY.replace("superseded", "revoked"))),
            ("a label twice", format!("version = 1\n{ENTRY}{ENTRY}")),
            ("an empty label", format!("version = 1\n{}", ENTRY.replace("\"a\"", "\"\""))),
            ("a label of any length", format!("version = 1\n{}", ENTRY.replace("\"a\"", &format!("\"{}\"", "a".repeat(2049))))),
            ("a time without a zone", format!("version = 1\n{ENTRY}until = \"2027-01-31T00:00:00\"\n")),
            (
                "an end of what is retired",
                format!("version = 1\n{}until = \"2027-01-31T00:00:00Z\"\n", ENTRY.replace("superseded", "retired")),
            ),
            ("more entries than anybody has", {
                let entry = |n: u32| ENTRY.replace("\"a\"", &format!("\"a{n}\""));
                "version = 1\n".to_owned() + &(0..1001).map(entry).collect::<String>()
            }),
        ] {
            assert!(parsed(&text).is_err(), "{what}");
        }
    }
}
