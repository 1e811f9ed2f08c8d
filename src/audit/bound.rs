//! Limits the length of a record. A long text from a caller is replaced by its beginning, its length and its digest: a record holds
//! evidence, not the data that a caller sent.

use serde_json::{Map, Value, json};
use stationmaster_train::digest::Sha256Digest;

use super::{Digests, Entry, ImageIds, KeyRef, RuleRef, TrainRef};

/// The longest line that is written, in bytes, without its newline. [`super::read::LONGEST_LINE`], which is read whole, is far above.
pub const RECORD_BYTES: usize = 16 * 1024;

/// Bytes kept of the longest texts, tried in turn.
const LEFT: [usize; 3] = [1024, 256, 64];
/// Length in bytes above which a value in `about` may be omitted whole.
const VALUE_BYTES: usize = 256;

/// Returns the entry with at most `room` bytes: a part of each long text is kept, the less the more long texts there are.
pub(super) fn shortened(entry: &Entry, room: usize) -> Entry {
    let fits = |entry: &Entry| serde_json::to_vec(entry).is_ok_and(|bytes| bytes.len() <= room);
    let mut entry = entry.clone();
    for most in LEFT {
        texts(&mut entry, &mut |text| shorten(text, most));
        if fits(&entry) {
            return entry;
        }
    }
    for value in entry.about.values_mut() {
        let text = value.to_string();
        if text.len() > VALUE_BYTES {
            *value = summary(&text);
        }
    }
    if !fits(&entry) {
        let rules = serde_json::to_string(&std::mem::take(&mut entry.rules)).unwrap_or_default();
        let about = Value::Object(std::mem::take(&mut entry.about)).to_string();
        entry.about = Map::from_iter([("rules".to_owned(), summary(&rules)), ("about".to_owned(), summary(&about))]);
    }
    entry
}

/// Replaces a text longer than `most` bytes by its beginning with its length and digest.
pub(super) fn shorten(text: &mut String, most: usize) {
    if text.len() > most {
        let digest = Sha256Digest::of(text.as_bytes()).to_hex();
        *text = format!("{}… [{} bytes, sha256 {digest}]", &text[..text.floor_char_boundary(most)], text.len());
    }
}

fn summary(text: &str) -> Value {
    json!({ "bytes": text.len(), "sha256": Sha256Digest::of(text.as_bytes()).to_hex() })
}

/// Calls `each` for every text of an entry. Without `..`, so that a new field does not compile until it has a bound.
fn texts(entry: &mut Entry, each: &mut impl FnMut(&mut String)) {
    let Entry {
        event: _,
        call,
        principal,
        rpc,
        run,
        train,
        images,
        digests,
        key,
        operation,
        scheme,
        digest,
        of: _,
        outcome,
        refusal_id,
        detail,
        rules,
        about,
    } = entry;
    let plain = [call, principal, rpc, run, operation, scheme, digest, outcome, refusal_id, detail];
    plain.into_iter().flatten().for_each(&mut *each);
    if let Some(TrainRef { id, session, stop: _ }) = train {
        [id, session].into_iter().for_each(&mut *each);
    }
    if let Some(ImageIds { name, input, output }) = images {
        [name, input, output].into_iter().flatten().for_each(&mut *each);
    }
    if let Some(Digests { immutable, results_in, results_out }) = digests {
        [immutable, results_in, results_out].into_iter().flatten().for_each(&mut *each);
    }
    if let Some(KeyRef { label, fingerprint, purpose }) = key {
        [label, fingerprint, purpose].into_iter().for_each(&mut *each);
    }
    for RuleRef { rule, outcome } in rules {
        [rule, outcome].into_iter().for_each(&mut *each);
    }
    about.values_mut().for_each(|value| texts_of(value, each));
}

fn texts_of(value: &mut Value, each: &mut impl FnMut(&mut String)) {
    match value {
        Value::String(text) => each(text),
        Value::Array(values) => values.iter_mut().for_each(|value| texts_of(value, each)),
        Value::Object(values) => values.values_mut().for_each(|value| texts_of(value, each)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Event;

    /// Returns an entry in which every text is `character`, repeated `times` times.
    fn full(character: char, times: usize) -> Entry {
        let text = || character.to_string().repeat(times);
        let some = || Some(text());
        Entry {
            event: Event::Refusal,
            call: some(),
            principal: some(),
            rpc: some(),
            run: some(),
            train: Some(TrainRef { id: text(), session: text(), stop: 1 }),
            images: Some(ImageIds { name: some(), input: some(), output: some() }),
            digests: Some(Digests { immutable: some(), results_in: some(), results_out: some() }),
            key: Some(KeyRef { label: text(), fingerprint: text(), purpose: text() }),
            operation: some(),
            scheme: some(),
            digest: some(),
            of: Some(u64::MAX),
            outcome: some(),
            refusal_id: some(),
            detail: some(),
            rules: vec![RuleRef { rule: text(), outcome: text() }; 40],
            about: Map::from_iter((0..200).map(|number| (number.to_string(), json!([text(), { "a": text() }])))),
        }
    }

    #[test]
    fn no_entry_is_too_long_for_a_record() {
        // A control character takes six bytes in JSON.
        for character in ['a', '"', '\u{1}', 'ä', '\u{1F600}'] {
            for times in [100, 300, 5000] {
                let entry = shortened(&full(character, times), RECORD_BYTES - 256);
                let bytes = serde_json::to_vec(&entry).unwrap();
                assert!(bytes.len() <= RECORD_BYTES - 256, "{character:?} {times}: {}", bytes.len());
                assert_eq!(serde_json::from_slice::<Entry>(&bytes).unwrap(), entry);
            }
        }
    }

    #[test]
    fn shortened_text_has_its_length_and_digest_and_nothing_else_is_changed() {
        let long = "x".repeat(100_000);
        let entry = Entry { detail: Some(long.clone()), principal: Some("unix:uid=0".into()), ..Entry::of(Event::Refusal) };
        let entry = shortened(&entry, RECORD_BYTES - 256);
        let digest = Sha256Digest::of(long.as_bytes()).to_hex();
        assert_eq!(entry.detail.unwrap(), format!("{}… [100000 bytes, sha256 {digest}]", &long[..1024]));
        assert_eq!(entry.principal.as_deref(), Some("unix:uid=0"));
    }
}
