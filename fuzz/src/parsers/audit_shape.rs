//! Logs, changed with their chain right: without that, a blind change is never past the record after it.

use serde_json::{Value, json};
use stationmaster::audit::leaf_hash;

use super::{audit::lines, random::Random};

const FIELDS: &[&str] = &["event", "of", "operation", "outcome", "key", "principal", "about", "time", "seq", "prev"];
const TEXTS: &[&str] =
    &["segment", "checkpoint", "key-use", "key-used", "keys-found", "service-started", "unwrap", "sign", "ok", "", "from-later"];

/// Changes some records, or their order; most of the time, numbers and hashes are made to fit again.
pub fn mutate(log: &mut Vec<u8>, random: &mut Random, longest: usize) {
    let mut records: Vec<Vec<u8>> = lines(log).into_iter().map(<[u8]>::to_vec).collect();
    if records.is_empty() {
        return;
    }
    let torn = log[records.iter().map(|line| line.len() + 1).sum::<usize>()..].to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(records.len());
        match random.below(8) {
            0 if records.len() > 1 => drop(records.remove(at)),
            1 => records.insert(random.below(records.len()), records[at].clone()),
            2 => {
                let other = random.below(records.len());
                records.swap(at, other);
            }
            3 => records.truncate(at + 1),
            4 => {
                let byte = random.below(records[at].len().max(1));
                if let Some(byte) = records[at].get_mut(byte) {
                    *byte = random.next() as u8;
                }
            }
            _ => change(&mut records[at], random),
        }
    }
    if random.below(4) > 0 {
        chain(&mut records);
    }
    let mut changed: Vec<u8> = records.into_iter().flat_map(|line| [line, b"\n".to_vec()].concat()).collect();
    changed.extend(torn);
    if changed.len() <= longest {
        *log = changed;
    }
}

/// Gives a field another value, or another record's kind.
fn change(line: &mut Vec<u8>, random: &mut Random) {
    let Ok(Value::Object(mut record)) = serde_json::from_slice(line) else { return };
    let field = random.one_of(FIELDS);
    let value = match random.below(5) {
        0 => json!(random.one_of(TEXTS)),
        1 => json!(random.below(20)),
        2 => json!({ "token": { "signatures": random.below(40), "decryptions": random.below(40) } }),
        3 => Value::Null,
        _ => json!({ "label": random.one_of(TEXTS), "fingerprint": "SHA256:x", "purpose": "audit" }),
    };
    record.insert(field.to_owned(), value);
    *line = Value::Object(record).to_string().into_bytes();
}

/// Numbers the records from the first one's number on, and lets each name the one before.
fn chain(records: &mut [Vec<u8>]) {
    let mut before: Option<(u64, String)> = None;
    for line in records {
        if let Ok(Value::Object(mut record)) = serde_json::from_slice::<Value>(line) {
            if let Some((seq, hash)) = before.take() {
                record.insert("seq".into(), json!(seq + 1));
                record.insert("prev".into(), json!(hash));
                *line = Value::Object(record.clone()).to_string().into_bytes();
            }
            let seq = record.get("seq").and_then(Value::as_u64).unwrap_or_default().min(u64::MAX - 1);
            before = Some((seq, const_hex::encode(leaf_hash(line))));
        }
    }
}
