//! How long a record may be. What a caller made long is said by its beginning, its length and its digest: a record holds evidence, not
//! what somebody sent.

use openssl::sha::sha256;
use serde_json::{Map, Value, json};

use super::{Digests, Entry, Images, KeyRef, RuleRef, TrainRef};

/// The longest line that is written, in bytes, without its newline. [`super::read::LONGEST_LINE`], which is read whole, is far above.
pub const RECORD_BYTES: usize = 16 * 1024;

/// What is left of the longest texts, each try in turn.
const LEFT: [usize; 3] = [1024, 256, 64];
/// A value in `about` that is longer than this may be left out whole.
const VALUE_BYTES: usize = 256;

/// The same entry with at most so many bytes: a little is left of each long text, and with many of them ever less.
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

/// A text that is longer than `most` bytes becomes its beginning with its length and digest.
pub(super) fn shorten(text: &mut String, most: usize) {
    if text.len() > most {
        let digest = const_hex::encode(sha256(text.as_bytes()));
        *text = format!("{}… [{} bytes, sha256 {digest}]", &text[..text.floor_char_boundary(most)], text.len());
    }
}

fn summary(text: &str) -> Value {
    json!({ "bytes": text.len(), "sha256": const_hex::encode(sha256(text.as_bytes())) })
}

/// Every text of an entry. Without `..`: a new field has a bound, or nothing compiles.
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
    if let Some(Images { name, input, output }) = images {
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

    /// An entry with so many times a character in every text that there is.
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
            images: Some(Images { name: some(), input: some(), output: some() }),
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
    fn what_is_cut_off_is_said_by_length_and_digest_and_nothing_else_is_changed() {
        let long = "x".repeat(100_000);
        let entry = Entry { detail: Some(long.clone()), principal: Some("unix:uid=0".into()), ..Entry::of(Event::Refusal) };
        let entry = shortened(&entry, RECORD_BYTES - 256);
        let digest = const_hex::encode(sha256(long.as_bytes()));
        assert_eq!(entry.detail.unwrap(), format!("{}… [100000 bytes, sha256 {digest}]", &long[..1024]));
        assert_eq!(entry.principal.as_deref(), Some("unix:uid=0"));
    }
}
