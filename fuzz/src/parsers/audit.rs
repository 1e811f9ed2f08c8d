//! An audit log and its checkpoints, as somebody hands them over.

use std::{cell::OnceCell, fs, sync::LazyLock};

use openssl::pkey::PKey;
use stationmaster::audit::{
    Event, Record, checkpoint, leaf_hash,
    verify::{Expected, verify},
};

/// A log that a service wrote, with two checkpoints.
pub const LOG: &[u8] = include_bytes!("../../../tests/vectors/audit.jsonl");

thread_local! {
    static FOLDER: OnceCell<tempfile::TempDir> = const { OnceCell::new() };
}

/// The key that signed them (SubjectPublicKeyInfo).
static KEY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let pem = include_bytes!("../../../tests/vectors/audit.pem");
    PKey::public_key_from_pem(pem).and_then(|key| key.public_key_to_der()).expect("a public key")
});

/// The records of what is whole of a log.
pub fn lines(log: &[u8]) -> Vec<&[u8]> {
    let whole = log.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    log[..whole].split_inclusive(|byte| *byte == b'\n').map(|line| &line[..line.len() - 1]).collect()
}

/// The checkpoints in the log.
pub fn notes() -> Vec<String> {
    let notes = lines(LOG).into_iter().filter_map(|line| {
        let record: Record = serde_json::from_slice(line).expect("a record");
        (record.entry.event == Event::Checkpoint).then(|| record.entry.about["note"].as_str().expect("a note").to_owned())
    });
    notes.collect()
}

/// What passes is a chain; what a checkpoint in it covers is what was signed, to the byte.
pub fn log(input: &[u8]) {
    let file = FOLDER.with(|folder| folder.get_or_init(|| tempfile::tempdir().expect("a folder")).path().join("log"));
    fs::write(&file, input).expect("a file");
    let found = verify(&[file], Expected { keys: &[&KEY], ..Expected::default() }).expect("a file that can be read");
    assert_eq!(found.flaws.len() as u64, found.flaw_count.min(100));
    if !found.holds() {
        return;
    }
    let lines = lines(input);
    assert_eq!(found.torn_bytes as usize, input.len() - lines.iter().map(|line| line.len() + 1).sum::<usize>());
    let records: Vec<Record> = lines.iter().map(|line| serde_json::from_slice(line).expect("a record")).collect();
    for (number, pair) in records.windows(2).enumerate() {
        assert_eq!(pair[1].seq, pair[0].seq + 1, "numbers follow each other");
        assert_eq!(pair[1].prev, const_hex::encode(leaf_hash(lines[number])), "each names the one before");
    }
    let head = found.head.expect("a log that holds has an end");
    assert_eq!((head.size, head.hash), (found.first + lines.len() as u64, leaf_hash(lines.last().expect("a record"))));
    assert!(found.checkpoints > 0, "a log that holds has a signature");
    if found.first == 0 {
        let covered = usize::try_from(found.covered).expect("a number of lines");
        assert_eq!(lines[..covered], self::lines(LOG)[..covered], "a signature covers nothing that was not signed");
    }
}

/// What verifies is what was signed, in one spelling.
pub fn note(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let origin = text.split('\n').next().unwrap_or_default();
    if checkpoint::verify(text, origin, &[&KEY]).is_ok() {
        assert!(notes().iter().any(|note| note == text), "a checkpoint that nobody signed: {text}");
    }
}
