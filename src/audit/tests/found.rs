//! Tests of what is read of a log at the start, and of logs that are not continued.

use super::{super::read, *};

/// A log of several short segments that was closed, and the place at its end.
fn log_of_segments(directory: &Path) -> Remembered {
    let audit = open(directory, 1024);
    for number in 0..20 {
        audit.record(entry(number)).unwrap();
    }
    audit.close();
    assert!(segments(directory).len() > 4);
    end_of(&directory.join("service")).unwrap().unwrap()
}

fn opened(directory: &Path, remembered: Remembered) -> Result<Opened, AuditError> {
    Audit::open(Settings { remembered: Some(remembered), ..settings(directory, 1024) }).map(|(_, opened)| opened)
}

#[test]
fn a_segment_whose_file_was_renamed_keeps_the_log_from_being_continued() {
    let directory = tempfile::tempdir().unwrap();
    log_of_segments(directory.path());
    let last = segments(directory.path()).pop().unwrap();
    let renamed = last.with_file_name(read::segment_name(77));
    fs::rename(&last, &renamed).unwrap();
    let error = Audit::open(settings(directory.path(), 1024)).map(drop).unwrap_err();
    assert!(matches!(&error, AuditError::Broken { file, .. } if *file == renamed), "{error}");
    fs::rename(&renamed, &last).unwrap();
    Audit::open(settings(directory.path(), 1024)).unwrap();
}

#[test]
fn an_earlier_segment_that_was_rewritten_is_found_where_its_place_is_remembered() {
    let directory = tempfile::tempdir().unwrap();
    let place = log_of_segments(directory.path());
    let at = |number| directory.path().join("service").join(read::segment_name(number));
    let before_last = u64::try_from(segments(directory.path()).len()).unwrap() - 1;
    let read_all = |number| fs::read_to_string(at(number)).unwrap();
    // The ledger knows a record of the last segment but one: both are read, and what follows is counted.
    let last_but_one = read_all(before_last);
    let known = last_but_one.lines().next_back().unwrap();
    let size = serde_json::from_str::<Record>(known).unwrap().seq + 1;
    let earlier = Remembered { size, head: leaf_hash(known.as_bytes()), ..place.clone() };
    let unremembered = opened(directory.path(), earlier.clone()).unwrap().unremembered;
    assert_eq!((unremembered.records, unremembered.gone), (place.size - size, 0));
    let other = Remembered { head: [7; 32], ..earlier };
    assert!(matches!(opened(directory.path(), other), Err(AuditError::Broken { .. })), "the last segment alone was read");
    // A segment between is missing.
    let oldest = Remembered { size: 1, head: [7; 32], ..place };
    fs::remove_file(at(before_last)).unwrap();
    assert!(matches!(opened(directory.path(), oldest), Err(AuditError::Broken { .. })));
}
