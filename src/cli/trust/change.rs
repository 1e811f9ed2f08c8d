//! Output of changes of a trust file.

use std::path::Path;

use serde_json::{Value, json};

use crate::{
    cli::output::{printable, table},
    trust::{Master, OwnerKind, Pin, TrustStore},
};

/// Entries of a trust file for output: all of them, or those that a command changed.
#[derive(Default)]
pub(super) struct Entries(Vec<Entry>);

struct Entry {
    kind: &'static str,
    id: String,
    fingerprint: String,
    bits: u32,
    added: String,
    comment: String,
}

impl Entries {
    pub(super) fn all_of(store: &TrustStore) -> Self {
        let mut entries = Self::default();
        for kind in [OwnerKind::Creator, OwnerKind::Station] {
            store.pins(kind).iter().for_each(|pin| entries.pin(kind, pin));
        }
        store.masters().iter().for_each(|master| entries.master(master));
        entries
    }

    pub(super) fn pin(&mut self, kind: OwnerKind, pin: &Pin) {
        self.0.push(Entry {
            kind: kind.name(),
            id: pin.id.clone(),
            fingerprint: pin.key.fingerprint(),
            bits: pin.key.bits(),
            added: pin.added.map(|date| date.to_string()).unwrap_or_default(),
            comment: pin.comment.clone().unwrap_or_default(),
        });
    }

    pub(super) fn master(&mut self, master: &Master) {
        self.0.push(Entry {
            kind: "master",
            id: master.repository.clone(),
            fingerprint: master.digest.map(|digest| digest.to_string()).unwrap_or_default(),
            bits: 0,
            added: String::new(),
            comment: master.comment.clone().unwrap_or_default(),
        });
    }

    /// Returns the fingerprints of the keys.
    pub(super) fn fingerprints(&self) -> Vec<String> {
        self.0.iter().filter(|entry| entry.kind != "master").map(|entry| entry.fingerprint.clone()).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn json(&self) -> Value {
        let entry = |entry: &Entry| match entry.kind {
            "master" => {
                json!({ "kind": entry.kind, "repository": entry.id, "digest": some(&entry.fingerprint), "comment": some(&entry.comment) })
            }
            kind => json!({
                "kind": kind,
                "id": entry.id,
                "fingerprint": entry.fingerprint,
                "bits": entry.bits,
                "added": some(&entry.added),
                "comment": some(&entry.comment),
            }),
        };
        self.0.iter().map(entry).collect()
    }

    /// Returns the entries without the day on which they were added.
    pub(super) fn undated_json(&self) -> Value {
        let mut entries = self.json();
        for entry in entries.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            entry.remove("added");
        }
        entries
    }

    pub(super) fn table(&self) -> String {
        let row = |entry: &Entry| {
            let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { printable(text) };
            vec![
                entry.kind.to_owned(),
                printable(&entry.id),
                or_dash(&entry.fingerprint),
                or_dash(&entry.added),
                or_dash(&entry.comment),
            ]
        };
        table(&["KIND", "ID", "FINGERPRINT", "ADDED", "COMMENT"], self.0.iter().map(row).collect())
    }

    /// Returns a command's change of a file.
    pub(super) fn value(&self, what: &str, file: &Path) -> Value {
        json!({ "file": file, what: self.json() })
    }

    /// The same, with warnings.
    pub(super) fn value_with_warnings(&self, what: &str, file: &Path, warnings: &[String]) -> Value {
        json!({ "file": file, what: self.json(), "warnings": warnings })
    }
}

fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}
