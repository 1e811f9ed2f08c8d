//! Tests of what is remembered of a rejected PIN, and of what prevents a login.

use std::fs;

use crate::pin_latch::*;

fn pin(text: &str) -> SecretString {
    SecretString::from(text.to_owned())
}

#[test]
fn a_rejected_pin_stays_in_the_file_and_another_is_let_through() {
    let dir = tempfile::tempdir().unwrap();
    let latch = PinLatch::new(Some(dir.path().join("latch")));
    latch.permit("file-serial", (&pin("1111"), "a test"), PinRisk::default()).unwrap().rejected();
    forget_this_process("file-serial");
    let latched = || KeystoreError::PinLatched { pin: "a test".to_owned(), latch: Some(dir.path().join("latch")) };
    let low = PinRisk { count_low: true, ..PinRisk::default() };
    assert_eq!(latch.permit("file-serial", (&pin("1111"), "a test"), low).err(), Some(latched()));
    latch.permit("file-serial", (&pin("2222"), "a test"), low).unwrap().rejected();
    forget_this_process("file-serial");
    for old in ["1111", "2222"] {
        assert_eq!(latch.permit("file-serial", (&pin(old), "a test"), low).err(), Some(latched()));
    }
    assert!(!fs::read_to_string(dir.path().join("latch")).unwrap().contains("1111"));
    // A PIN that is accepted leaves the others rejected.
    drop(latch.permit("file-serial", (&pin("3333"), "a test"), low).unwrap());
    assert_eq!(latch.permit("file-serial", (&pin("1111"), "a test"), low).err(), Some(latched()));
}

#[test]
fn a_torn_or_unwritable_latch_stops_the_login() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("latch"), "rubbish\n").unwrap();
    // Cut off by a full disk: what was in it is not begun anew unasked.
    fs::write(dir.path().join("empty"), "").unwrap();
    for file in [dir.path().join("latch"), dir.path().join("missing/latch"), dir.path().join("empty")] {
        let latch = PinLatch::new(Some(file));
        let refused = latch.permit("torn-serial", (&pin("1"), "a test"), PinRisk::default()).err();
        let Some(refused @ KeystoreError::LatchUnusable { .. }) = refused else { panic!("{refused:?}") };
        assert!(!refused.to_string().contains("entity") && refused.hint().is_some(), "{refused}");
    }
}

#[test]
fn a_latch_with_many_pins_stops_the_login() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("latch");
    fs::write(&file, format!("{HEADER}\n{}", format!("{} {}\n", "00".repeat(SALT), "00".repeat(32)).repeat(MOST))).unwrap();
    let refused = PinLatch::new(Some(file)).permit("many-serial", (&pin("1"), "a test"), PinRisk::default()).err();
    assert!(matches!(refused, Some(KeystoreError::LatchUnusable { .. })), "{refused:?}");
}

#[test]
fn the_last_try_is_never_ours() {
    let latch = PinLatch::new(None);
    for (risk, state) in [
        (PinRisk { locked: true, ..PinRisk::default() }, "locked"),
        (PinRisk { final_try: true, ..PinRisk::default() }, "final try"),
        (PinRisk { count_low: true, ..PinRisk::default() }, "count low"),
    ] {
        let refused = latch.permit("risk-serial", (&pin("1"), "a test"), risk).err();
        assert_eq!(refused, Some(KeystoreError::PinAtRisk { state }));
    }
}
