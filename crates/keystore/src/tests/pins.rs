//! Tests that a wrong PIN is tried once, in this process and the next.

use super::support::*;
use crate::{pin_latch, *};

fn rejected(latch: Option<&std::path::Path>) -> Option<KeystoreError> {
    Some(KeystoreError::PinRejected { pin: KEPT.to_owned(), latch: latch.map(Into::into) })
}

fn latched(latch: Option<&std::path::Path>) -> Option<KeystoreError> {
    Some(KeystoreError::PinLatched { pin: KEPT.to_owned(), latch: latch.map(Into::into) })
}

/// How a PIN is named that is in no file.
const KEPT: &str = "the environment or the terminal";

fn refusal(station: &TestToken, access: &TokenAccess) -> Option<KeystoreError> {
    Keystore::open(station.config_with(access.clone(), &["train"])).err()
}

#[test]
fn a_wrong_pin_is_tried_once_and_a_corrected_one_does_not_permit_it_again() {
    let station = TestToken::with_keys();
    let latch = station.dir.path().join("latch");
    let good = TokenAccess { pin_latch: Some(latch.clone()), ..station.access() };
    let wrong = TokenAccess { pin: kept("wrong-pin"), ..good.clone() };
    assert_eq!(refusal(&station, &wrong), rejected(Some(&latch)));
    assert_eq!(refusal(&station, &wrong), latched(Some(&latch)));
    pin_latch::forget_this_process(&station.serial);
    assert_eq!(refusal(&station, &wrong), latched(Some(&latch)), "the file outlives the process");
    assert!(latch.exists());
    let hint = refusal(&station, &wrong).unwrap().hint().unwrap();
    assert!(hint.contains(latch.to_str().unwrap()), "the file is not named: {hint}");
    assert_eq!(refusal(&station, &good), None);
    assert_eq!(refusal(&station, &wrong), latched(Some(&latch)), "only an administrator permits it again");
}

#[test]
fn without_a_latch_file_a_low_count_stops_the_login() {
    let station = TestToken::with_keys();
    let good = station.access();
    let wrong = TokenAccess { pin: kept("wrong-pin"), ..good.clone() };
    assert_eq!(refusal(&station, &wrong), rejected(None));
    assert_eq!(refusal(&station, &wrong), latched(None));
    let low = refusal(&station, &good).unwrap();
    assert_eq!(low, KeystoreError::PinAtRisk { state: "count low" });
    assert!(low.hint().unwrap().contains("pkcs11-tool --login"));
}

#[test]
fn a_login_of_ours_does_not_vouch_for_another_pin() {
    let station = TestToken::with_keys();
    let _keystore = station.open();
    let wrong = TokenAccess { pin: kept("wrong-pin"), ..station.access() };
    assert_eq!(refusal(&station, &wrong), Some(KeystoreError::LoggedInElsewhere));
    assert_eq!(refusal(&station, &station.access()), None);
}

#[test]
fn a_pin_is_in_no_message() {
    let station = TestToken::with_keys();
    let wrong = TokenAccess { pin: kept("wrong-pin"), ..station.access() };
    let error = refusal(&station, &wrong).unwrap();
    assert!(!format!("{error} {error:?} {wrong:?}").contains("wrong-pin"));
}
