//! Tests that every written record can be read back: after any calls and restarts, and from any version.

use std::sync::{LazyLock, Mutex};

use proptest::prelude::*;

use super::*;

/// A refusal as an older version wrote it, that follows from the last line of a log.
pub(super) fn long_line(file: &Path, bytes: usize) -> String {
    let text = fs::read_to_string(file).unwrap();
    let last: &str = text.lines().last().unwrap();
    let seq = text.lines().count();
    let prev = const_hex::encode(leaf_hash(last.as_bytes()));
    format!(
        "{{\"seq\":{seq},\"time\":\"2026-01-01T00:00:00.000000Z\",\"prev\":\"{prev}\",\"event\":\"refusal\",\"detail\":\"{}\"}}",
        "x".repeat(bytes)
    )
}

#[test]
fn a_log_with_lines_that_are_too_long_is_continued_and_verified_and_they_are_reported() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path(), 1 << 30).close();
    let file = segments(directory.path()).remove(0);
    let append = |bytes: &[u8]| fs::write(&file, [&fs::read(&file).unwrap(), bytes].concat()).unwrap();
    for bytes in [read::LONGEST_LINE, 3 << 20, 8 << 20] {
        append(long_line(&file, bytes).as_bytes());
        append(b"\n");
    }
    // And half of one at the end.
    let half = long_line(&file, 2 << 20);
    append(&half.as_bytes()[..half.len() - 9]);

    let (audit, opened) = Audit::open(settings(directory.path(), 1 << 30)).unwrap();
    assert_eq!((opened.size, opened.long_lines, opened.torn_bytes), (4, 3, half.len() as u64 - 9));
    let signer = Signer::new();
    audit.record(entry(1)).unwrap();
    signer.sign(&audit);
    audit.close();
    let found = verify(std::slice::from_ref(&file), Some(&signer.spki()), None).unwrap();
    assert!(found.holds() && found.long_lines == 3 && found.checkpoints == 1, "{:?}", found.flaws);

    // They are part of the chain: a byte of one is missed.
    let bytes = fs::read(&file).unwrap();
    let place = bytes.len() / 2;
    let changed = [&bytes[..place], b"y", &bytes[place + 1..]].concat();
    fs::write(&file, changed).unwrap();
    assert!(!verify(std::slice::from_ref(&file), Some(&signer.spki()), None).unwrap().holds());
    assert!(matches!(Audit::open(settings(directory.path(), 1 << 30)), Err(AuditError::Broken { .. })));
}

/// What happens to a log.
#[derive(Clone, Debug)]
enum Step {
    /// Calls at once, with a text of so many characters in several places.
    Calls(Vec<(usize, char)>),
    Checkpoint,
    Stop,
    /// With this half-written at the end.
    Kill(Vec<u8>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let length = prop_oneof![0..100_usize, 4000..6000_usize, 15_000..17_000_usize, Just(1_200_000)];
    let character = prop_oneof![Just('a'), Just('"'), Just('\n'), Just('\u{1}'), Just('ä'), Just('\u{2028}'), any::<char>()];
    let step = prop_oneof![
        4 => prop::collection::vec((length, character), 1..4).prop_map(Step::Calls),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Stop),
        1 => prop::collection::vec(any::<u8>().prop_filter("no line", |byte| *byte != b'\n'), 0..200).prop_map(Step::Kill),
    ];
    prop::collection::vec(step, 1..12)
}

static SIGNER: LazyLock<Signer> = LazyLock::new(Signer::new);

fn call(length: usize, character: char) -> Entry {
    let text = String::from_iter(std::iter::repeat_n(character, length));
    Entry {
        principal: Some(text.clone()),
        train: Some(TrainRef { id: text.clone(), session: "00".into(), stop: 0 }),
        detail: Some(text.clone()),
        ..Entry::of(Event::Refusal)
    }
    .with("paths", vec![text.clone(), text])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_is_there_after_any_restart_and_verifies(steps in steps()) {
        let directory = tempfile::tempdir().unwrap();
        let place: Arc<Mutex<Option<Remembered>>> = Arc::default();
        let open = || {
            let place = Arc::clone(&place);
            let known = place.lock().unwrap().clone();
            let remember = Remember::new(move |now| { *place.lock().unwrap() = Some(now.clone()); Ok(()) });
            let settings = Settings { remembered: known, remember: Some(remember), ..settings(directory.path(), 16 * 1024) };
            Audit::open(settings).unwrap()
        };
        let (mut audit, _) = open();
        let mut answered = Vec::new();
        let mut signed = false;
        for step in steps.into_iter().chain([Step::Stop]) {
            match step {
                Step::Calls(calls) => {
                    for (length, character) in calls {
                        answered.push(audit.record(call(length, character)).unwrap());
                    }
                }
                Step::Checkpoint => {
                    SIGNER.sign(&audit);
                    signed = true;
                }
                Step::Stop => {
                    audit.close();
                    audit = open().0;
                }
                Step::Kill(torn) => {
                    audit.close();
                    let file = segments(directory.path()).pop().unwrap();
                    fs::write(&file, [fs::read(&file).unwrap(), torn.clone()].concat()).unwrap();
                    let (opened, found) = open();
                    prop_assert_eq!(found.torn_bytes, torn.len() as u64);
                    audit = opened;
                }
            }
        }
        let key = SIGNER.spki();
        audit.close();
        let all = segments(directory.path());
        let place = place.lock().unwrap().clone();
        let head = place.map(|place| Head { size: place.size, hash: place.head });
        let found = verify(&all, signed.then_some(&key[..]), head).unwrap();
        prop_assert!(found.holds(), "{:?}", found.flaws);
        let lines: Vec<Vec<u8>> = all
            .iter()
            .flat_map(|file| fs::read(file).unwrap().split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>())
            .filter(|line| !line.is_empty())
            .collect();
        prop_assert!(lines.iter().all(|line| line.len() <= RECORD_BYTES));
        for position in answered {
            prop_assert_eq!(leaf_hash(&lines[usize::try_from(position.seq).unwrap()]), position.hash);
        }
    }
}

#[test]
fn what_was_unsigned_or_unremembered_when_a_process_ended_is_known_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    // Short segments: the checkpoint is in an earlier one than the end.
    let audit = open(directory.path(), 1024);
    let signer = Signer::new();
    for number in 0..10 {
        audit.record(entry(number)).unwrap();
    }
    let tenth = audit.record(entry(9)).unwrap();
    signer.sign(&audit);
    audit.close();
    let (audit, opened) = Audit::open(settings(directory.path(), 1024)).unwrap();
    assert_eq!(opened.unsigned, 0, "the log ends with a checkpoint");
    let start = audit.record(Entry::of(Event::ServiceStarted)).unwrap();
    for number in 0..10 {
        audit.record(entry(number)).unwrap();
    }
    let log = audit.origin().to_owned();
    let known = audit.record(entry(10)).unwrap();
    let last = audit.record(entry(11)).unwrap();
    audit.close();
    let remembered = Some(Remembered { log, size: known.seq + 1, head: known.hash });
    let (audit, opened) = Audit::open(Settings { remembered, ..settings(directory.path(), 1024) }).unwrap();
    let unsigned = opened.unsigned;
    assert_eq!(opened.unremembered.records, last.seq - known.seq);
    audit.record(Entry::of(Event::ServiceStarted)).unwrap();
    signer.sign(&audit);
    audit.close();
    let found = verify(&segments(directory.path()), Some(&signer.spki()), None).unwrap();
    assert!(found.holds(), "{:?}", found.flaws);
    let span = *found.unsigned.last().unwrap();
    // From the first record behind the checkpoint: a segment may begin before the service's own.
    assert!(span.first > tenth.seq && span.first <= start.seq && span.last >= last.seq, "{span:?}");
    assert_eq!((found.unsigned_count, unsigned), (1, last.seq + 1 - span.first));
}
