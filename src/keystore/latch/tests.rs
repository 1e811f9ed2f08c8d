//! What is remembered of a rejected PIN, and what stops a login.

use super::*;

fn pin(text: &str) -> SecretString {
    SecretString::from(text.to_owned())
}

#[test]
fn a_rejected_pin_stays_in_the_file_and_another_is_let_through() {
    let dir = tempfile::tempdir().unwrap();
    let latch = PinLatch::new(Some(dir.path().join("latch")));
    latch.permit("file-serial", &pin("1111"), PinRisk::default()).unwrap().rejected();
    forget_this_process("file-serial");
    let low = PinRisk { count_low: true, ..PinRisk::default() };
    assert_eq!(latch.permit("file-serial", &pin("1111"), low).err(), Some(KeystoreError::PinLatched));
    latch.permit("file-serial", &pin("2222"), low).unwrap().rejected();
    forget_this_process("file-serial");
    for old in ["1111", "2222"] {
        assert_eq!(latch.permit("file-serial", &pin(old), low).err(), Some(KeystoreError::PinLatched));
    }
    assert!(!fs::read_to_string(dir.path().join("latch")).unwrap().contains("1111"));
    latch.permit("file-serial", &pin("3333"), low).unwrap().accepted();
    assert!(!dir.path().join("latch").exists());
}

#[test]
fn a_torn_or_unwritable_latch_stops_the_login() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("latch"), "rubbish\n").unwrap();
    for file in [dir.path().join("latch"), dir.path().join("missing/latch")] {
        let latch = PinLatch::new(Some(file));
        let refused = latch.permit("torn-serial", &pin("1"), PinRisk::default()).err();
        assert!(matches!(refused, Some(KeystoreError::LatchUnusable { .. })));
    }
}

#[test]
fn the_last_try_is_never_ours() {
    let latch = PinLatch::new(None);
    for (risk, state) in [
        (PinRisk { locked: true, ..PinRisk::default() }, "locked"),
        (PinRisk { final_try: true, ..PinRisk::default() }, "final try"),
        (PinRisk { count_low: true, ..PinRisk::default() }, "count low"),
    ] {
        let refused = latch.permit("risk-serial", &pin("1"), risk).err();
        assert_eq!(refused, Some(KeystoreError::PinAtRisk { state }));
    }
}
