//! Format of trust files: strict TOML with keys as PEM, readable and comparable by people, always replaced as a whole.

use std::path::Path;

use serde::{Deserialize, Serialize};
use stationmaster_system::files::guarded::Reader;
use stationmaster_train::keys::PublicKey;

use super::{EntryError, Master, OwnerKind, Pin, TrustError, TrustStore, store::plain};
use crate::watched_file;

/// The version of the format.
const VERSION: u32 = 1;

const HEADER: &str = "\
# The keys that this station trusts. `stationmaster trust` writes this file, and administrators may edit it: a running service
# reads it again when it changes. `stationmaster trust` keeps `comment = \"…\"`, but not lines like this one.

";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    creator: Vec<KeyEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    station: Vec<KeyEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    master: Vec<MasterEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    id: String,
    /// For readers; when present, it must be correct.
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    added: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    key: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MasterEntry {
    image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
}

/// Reads a file.
///
/// # Errors
/// When it cannot be read or used.
pub fn read(file: &Path) -> Result<TrustStore, TrustError> {
    parse(&watched_file::read(file, Reader::Command)?, file)
}

/// Parses a text; `file` is named in errors.
///
/// # Errors
/// When it cannot be used.
pub fn parse(bytes: &[u8], file: &Path) -> Result<TrustStore, TrustError> {
    let syntax = |line: usize, message: String| TrustError::Syntax { file: file.to_owned(), line, message };
    let document: Document = watched_file::toml(bytes).map_err(|(line, message)| syntax(line, message))?;
    if document.version != VERSION {
        return Err(syntax(1, format!("version {} is not {VERSION}", document.version)));
    }
    let mut store = TrustStore::default();
    for (kind, entries) in [(OwnerKind::Creator, document.creator), (OwnerKind::Station, document.station)] {
        for (at, entry) in entries.into_iter().enumerate() {
            let flaw = |cause| TrustError::Entry { file: file.to_owned(), kind: kind.name(), number: at + 1, cause };
            store.add(kind, pin(entry).map_err(flaw)?).map_err(flaw)?;
        }
    }
    for (at, entry) in document.master.into_iter().enumerate() {
        let flaw = |cause| TrustError::Entry { file: file.to_owned(), kind: "master", number: at + 1, cause };
        store.add_master(master(entry).map_err(flaw)?).map_err(flaw)?;
    }
    Ok(store)
}

fn pin(entry: KeyEntry) -> Result<Pin, EntryError> {
    let key = PublicKey::from_pem(entry.key.as_bytes())?;
    if entry.fingerprint.is_some_and(|stated| stated != key.fingerprint()) {
        return Err(EntryError::Fingerprint(key.fingerprint()));
    }
    let added = entry.added.map(|date| date.parse().map_err(|_| EntryError::Date)).transpose()?;
    Pin::on(&entry.id, key, added, entry.comment)
}

fn master(entry: MasterEntry) -> Result<Master, EntryError> {
    if let Some(comment) = &entry.comment {
        plain("comment", comment)?;
    }
    Ok(Master::parse(&entry.image, entry.comment)?)
}

/// Returns a store as the text of a file.
#[must_use]
pub fn text(store: &TrustStore) -> String {
    text_of(store, false)
}

/// Returns a store as it may be shown to others: without comments and dates.
#[must_use]
pub fn bundle(store: &TrustStore) -> String {
    text_of(store, true)
}

fn text_of(store: &TrustStore, bare: bool) -> String {
    let entries = |kind| {
        let entry = |pin: &Pin| KeyEntry {
            id: pin.id.clone(),
            fingerprint: Some(pin.key.fingerprint()),
            added: pin.added.filter(|_| !bare).map(|date| date.to_string()),
            comment: pin.comment.clone().filter(|_| !bare),
            key: pin.key.to_pem(),
        };
        store.pins(kind).iter().map(entry).collect()
    };
    let master = |master: &Master| MasterEntry { image: master.reference(), comment: master.comment.clone().filter(|_| !bare) };
    let document = Document {
        version: VERSION,
        creator: entries(OwnerKind::Creator),
        station: entries(OwnerKind::Station),
        master: store.masters().iter().map(master).collect(),
    };
    // Plain text and numbers only, in an order that TOML can write.
    HEADER.to_owned() + &toml::to_string_pretty(&document).unwrap_or_default()
}

/// Changes a file; see [`watched_file::update_parsed`].
///
/// # Errors
/// `change`'s own, or when the file cannot be read, used or written.
pub fn update<T, E: From<TrustError>>(file: &Path, change: impl FnOnce(&mut TrustStore) -> Result<T, E>) -> Result<T, E> {
    watched_file::update_parsed(file, parse, text, change)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

    use super::*;
    use crate::{
        trust::store::tests::{key, pin as pinned},
        watched_file::FileError,
    };

    fn filled() -> TrustStore {
        let mut store = TrustStore::default();
        store.add(OwnerKind::Creator, Pin::new("c", key(), Some("the \"first\" creator".into())).unwrap()).unwrap();
        for id in ["2", "a", "a"] {
            store.add(OwnerKind::Station, pinned(id, &key())).unwrap();
        }
        store.add_master(Master::parse("harbor.example/master/python", None).unwrap()).unwrap();
        store
    }

    #[test]
    fn what_is_written_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("trust.toml");
        let store = filled();
        update(&file, |new| {
            *new = store.clone();
            Ok::<_, TrustError>(())
        })
        .unwrap();
        assert_eq!(read(&file).unwrap(), store);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
        let written = fs::read_to_string(&file).unwrap();
        assert!(written.contains("\n-----BEGIN PUBLIC KEY-----\n"), "keys cannot be compared line by line: {written}");
        let shared = parse(bundle(&store).as_bytes(), &file).unwrap();
        assert!(
            !bundle(&store).contains("first")
                && shared.check_key(OwnerKind::Creator, "c", &store.pins(OwnerKind::Creator)[0].key)
                    == super::super::KeyVerdict::Trusted
        );
    }

    #[test]
    fn a_change_that_is_refused_leaves_the_file_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("trust.toml");
        let refuse = |store: &mut TrustStore| {
            *store = filled();
            Err::<(), _>(TrustError::File(FileError::Missing(PathBuf::new())))
        };
        assert!(update(&file, refuse).is_err() && !file.exists());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_trust_file_is_refused_with_its_place() {
        let at = Path::new("t.toml");
        let entry = |cause: &str| {
            let good = text(&filled());
            let pem = key().to_pem();
            let bad = match cause {
                "date" => good.replacen("added = \"", "added = \"x", 1),
                "fingerprint" => good.replacen("SHA256:", "SHA256:x", 1),
                "weak" => "version = 1\n[[creator]]\nid = \"c\"\nkey = \"not a key\"\n".to_owned(),
                "twice" => format!("version = 1\n{0}{0}", format_args!("[[station]]\nid = \"01\"\nkey = '''\n{pem}'''\n")),
                "control" => format!("version = 1\n[[station]]\nid = \"a\\u001b\"\nkey = '''\n{pem}'''\n"),
                other => panic!("{other}"),
            };
            assert!(matches!(parse(bad.as_bytes(), at), Err(TrustError::Entry { .. })), "{cause}");
        };
        ["date", "fingerprint", "weak", "twice", "control"].into_iter().for_each(entry);
        for (text, line) in
            [("", 1), ("version = 2", 1), ("version = 1\nnobody = 1\n", 2), ("version = 1\n[[creator]]\nid = 7\n", 3)]
        {
            let refused = parse(text.as_bytes(), at);
            let Err(TrustError::Syntax { line: found, .. }) = refused else { panic!("{text:?}: {refused:?}") };
            assert!(found <= line, "{text:?}");
        }
    }

    #[test]
    fn a_file_that_all_users_can_write_is_not_trusted() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("trust.toml");
        fs::write(&file, text(&filled())).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(read(&file), Err(TrustError::File(FileError::Unprotected(_)))));
    }
}
