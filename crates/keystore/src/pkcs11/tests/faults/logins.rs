//! Logins: one for all that miss it, and a PIN that the token rejected is never tried again, in no thread and no process.

use std::{
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

use super::*;
use crate::{
    pkcs11::tests::{MAX_SALT, recovered},
    *,
};

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_calls_that_miss_the_login_share_one() {
    let station = FaultyToken::with_keys();
    let keystore = station.open(8);
    sign_and_verify(&keystore, "train", MAX_SALT).await;
    for unwraps in [false, true] {
        let before = station.journal().calls("C_Login");
        // All others find the login lost meanwhile.
        station.set("C_Login every before delay 100");
        lock(&keystore.pool().state().login_session).as_ref().unwrap().logout().unwrap();
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..64 {
            let keystore = keystore.clone();
            calls.spawn(async move {
                if unwraps {
                    wrap_and_unwrap(&keystore, "train", OaepScheme::Sha512).await;
                } else {
                    sign_and_verify(&keystore, "train", MAX_SALT).await;
                }
            });
        }
        calls.join_all().await;
        assert_eq!(station.journal().calls("C_Login") - before, 1);
    }
}

#[tokio::test]
async fn a_lost_login_that_the_token_does_not_name_is_renewed() {
    let station = FaultyToken::with_keys();
    let keystore = station.open(1);
    sign_and_verify(&keystore, "train", MAX_SALT).await;
    let before = station.journal().calls("C_Login");
    lock(&keystore.pool().state().login_session).as_ref().unwrap().logout().unwrap();
    station.set("C_SignInit 1 before return CKR_GENERAL_ERROR");
    sign_and_verify(&keystore, "train", MAX_SALT).await;
    assert_eq!(station.journal().calls("C_Login") - before, 1);
    // The same value of a session that is logged in is a fault.
    station.set("C_SignInit 1 before return CKR_GENERAL_ERROR");
    let refused = sign(&keystore, "train", MAX_SALT, &[1; 64], None).await;
    assert!(matches!(refused, Err(KeystoreError::Fault { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_pin_that_is_rejected_while_the_token_is_set_up_anew_is_not_tried_at_the_next_attempt() {
    let station = FaultyToken::with_keys();
    let latch = station.token.dir.path().join("latch");
    let access = TokenAccess { pin_latch: Some(latch.clone()), ..station.access() };
    let keystore = Keystore::open(station.token.config_with(access, &["train"])).unwrap();
    let before = station.journal();
    let made = |function: &str| station.journal().calls(function) - before.calls(function);
    station.set("C_Sign 2 before return CKR_DEVICE_ERROR\nC_Login every before return CKR_PIN_INCORRECT");
    let lost = sign(&keystore, "train", MAX_SALT, &[1; 64], None).await;
    assert!(matches!(lost, Err(KeystoreError::Unavailable { .. })), "{lost:?}");
    let attempts = async |number: usize| {
        while made("C_Initialize") < number {
            assert!(keystore.check(None).await.is_err());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    attempts(3).await;
    assert_eq!(made("C_Login"), 1);
    // The token would accept the PIN by now, which the keystore cannot know.
    station.set("");
    attempts(5).await;
    assert_eq!(made("C_Login"), 1);
    pin_latch::forget_this_process(&station.token.serial);
    std::fs::remove_file(latch).unwrap();
    recovered(&keystore).await;
    sign_and_verify(&keystore, "train", MAX_SALT).await;
    assert_eq!(made("C_Login"), 2);
}

/// The test that is also the process: it opens the keystore with a wrong PIN when it is given a latch file, and prints how that ends.
const OPENS: &str = "a_wrong_pin_is_tried_once_in_twenty_restarts";

fn open_with_a_wrong_pin(latch: PathBuf) {
    let access = TokenAccess::new(FaultModule::library().unwrap(), TokenSelector::label(TOKEN), kept("wrong-pin"));
    let error = Keystore::open(KeystoreConfig::new(TokenAccess { pin_latch: Some(latch), ..access })).unwrap_err();
    let end = match error {
        KeystoreError::PinRejected { .. } => "rejected".to_owned(),
        KeystoreError::PinLatched { .. } => "latched".to_owned(),
        other => format!("{other:?}"),
    };
    println!("ended: {end}");
}

fn opening(latch: &Path) -> Child {
    alone(module_path!(), OPENS, latch.to_str().unwrap()).stdout(Stdio::piped()).spawn().unwrap()
}

fn ended(process: Child) -> String {
    let output = String::from_utf8(process.wait_with_output().unwrap().stdout).unwrap();
    output.lines().find_map(|line| line.split_once("ended: ")).unwrap_or_else(|| panic!("{output}")).1.to_owned()
}

#[test]
fn a_wrong_pin_is_tried_once_in_twenty_restarts() {
    if let Some(latch) = std::env::var_os(ALONE) {
        return open_with_a_wrong_pin(latch.into());
    }
    let station = FaultyToken::new();
    let latch = station.token.dir.path().join("latch");
    let ends: Vec<_> = (0..20).map(|_| ended(opening(&latch))).collect();
    assert_eq!(ends[0], "rejected");
    assert_eq!(ends[1..], ["latched"; 19]);
    assert_eq!(station.journal().calls("C_Login"), 1);
}

#[test]
fn a_wrong_pin_is_tried_once_by_processes_that_start_at_once() {
    let station = FaultyToken::new();
    let latch = station.token.dir.path().join("latch");
    // The others come while the first waits for the token.
    station.set("C_Login every before delay 500");
    let processes: Vec<_> = (0..4).map(|_| opening(&latch)).collect();
    let mut ends: Vec<_> = processes.into_iter().map(ended).collect();
    ends.sort();
    assert_eq!(ends, ["latched", "latched", "latched", "rejected"]);
    assert_eq!(station.journal().calls("C_Login"), 1);
}
