//! Tests of logs that are crafted to make verification expensive.

use super::*;

/// A log that begins as one does, with further lines that follow each other.
fn forged(directory: &Path, lines: impl Iterator<Item = String>) -> PathBuf {
    open(directory, 1 << 30).close();
    let file = segments(directory).remove(0);
    let mut text = fs::read_to_string(&file).unwrap();
    let mut prev = leaf_hash(text.trim_end().as_bytes());
    for (number, rest) in lines.enumerate() {
        let prev_hex = const_hex::encode(prev);
        let line = format!("{{\"seq\":{},\"time\":\"\",\"prev\":\"{prev_hex}\",{rest}}}", number + 1);
        prev = leaf_hash(line.as_bytes());
        text += &line;
        text.push('\n');
    }
    fs::write(&file, text).unwrap();
    file
}

#[test]
fn forged_principals_and_uses_take_no_more_memory_than_honest_ones() {
    let directory = tempfile::tempdir().unwrap();
    let long = "p".repeat(2000);
    let file = forged(
        directory.path(),
        (0..20_000).map(|number| format!("\"event\":\"key-use\",\"operation\":\"sign\",\"principal\":\"{number}{long}\"")),
    );
    let found = verify(&[file], None, None).unwrap();
    assert!(found.holds(), "{:?}", found.flaws);
    let names: Vec<_> = found.uses.values().flat_map(|by| by.keys()).collect();
    assert!(names.len() <= 4097 && names.iter().all(|name| name.len() < 400), "{} names", names.len());
    let announced: u64 = found.uses.values().flat_map(|by| by.values()).map(|uses| uses.announced).sum();
    assert_eq!(announced, 20_000, "no use is forgotten");
}

#[test]
fn lines_that_are_no_records_are_counted_and_the_first_hundred_listed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("00000001.jsonl");
    fs::write(&file, "\n".repeat(2_000_000) + "{}\n[\n").unwrap();
    let found = verify(&[file], None, None).unwrap();
    assert_eq!((found.flaws.len(), found.flaw_count), (100, 2_000_003));
}

#[test]
fn handshakes_are_counted_by_checkpoints_once_the_tls_key_is_named_and_no_other_use_is_hidden_by_them() {
    let flaws = |named: bool, handshakes: u64, by_token: u64| {
        let token = |signatures: u64| format!("\"token\":{{\"signatures\":{signatures},\"decryptions\":0}}");
        let key = r#","key":{"label":"door","fingerprint":"SHA256:x","purpose":"tls"}"#;
        let tls = format!("\"tls\":{{\"signatures\":{handshakes}}}");
        let directory = tempfile::tempdir().unwrap();
        let lines = [
            "\"event\":\"service-started\"".to_owned(),
            format!("\"event\":\"keys-found\",\"about\":{{{}}}", token(7)),
            format!("\"event\":\"tls-changed\"{}", if named { key } else { "" }),
            format!("\"event\":\"checkpoint\",\"about\":{{{},{tls}}}", token(7 + by_token)),
        ];
        let file = forged(directory.path(), lines.into_iter());
        verify(&[file], None, None).unwrap().flaws
    };
    assert!(flaws(true, 5, 5).is_empty());
    for (named, handshakes, by_token) in [(true, 5, 6), (true, 0, 1), (false, 5, 5)] {
        let found = flaws(named, handshakes, by_token);
        assert!(found[0].what.contains("more often than was announced"), "{named}, {handshakes}, {by_token}: {found:?}");
    }
}

#[test]
fn keys_that_are_tried_later_are_announced_with_their_number() {
    let directory = tempfile::tempdir().unwrap();
    let token = |signatures: u64| format!("\"token\":{{\"signatures\":{signatures},\"decryptions\":4}}");
    let lines = |tried: u64| {
        [
            "\"event\":\"service-started\"".to_owned(),
            format!("\"event\":\"keys-found\",\"about\":{{{}}}", token(7)),
            format!("\"event\":\"keys-tried\",\"about\":{{\"signatures\":{tried},\"decryptions\":0}}"),
            // Those that were found anew do not change what the count began with.
            format!("\"event\":\"keys-found\",\"about\":{{{}}}", token(14)),
            format!("\"event\":\"checkpoint\",\"about\":{{{}}}", token(14)),
        ]
    };
    let file = forged(directory.path(), lines(7).into_iter());
    assert!(verify(&[file], None, None).unwrap().holds());
    let directory = tempfile::tempdir().unwrap();
    let file = forged(directory.path(), lines(6).into_iter());
    let found = verify(&[file], None, None).unwrap();
    assert!(found.flaws[0].what.contains("more often than was announced"), "{:?}", found.flaws);
}
