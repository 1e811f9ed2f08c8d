//! Faults that last: how often the token is asked, what grows, and that the keystore works again when they end.

use super::*;
use crate::{
    pkcs11::tests::{MAX_SALT, recovered},
    *,
};

const DIGEST: [u8; 64] = [1; 64];

async fn signs(keystore: &Keystore) -> Result<(), KeystoreError> {
    sign(keystore, "train", MAX_SALT, &DIGEST, None).await.map(drop)
}

#[tokio::test]
async fn a_call_is_tried_twice_at_most() {
    let station = FaultyToken::with_keys();
    let keystore = station.open(1);
    signs(&keystore).await.unwrap();
    for value in [
        "CKR_SESSION_HANDLE_INVALID",
        "CKR_SESSION_CLOSED",
        "CKR_OPERATION_ACTIVE",
        "CKR_OBJECT_HANDLE_INVALID",
        "CKR_KEY_HANDLE_INVALID",
        "CKR_USER_NOT_LOGGED_IN",
        // A refusal of what the key's trial found to work.
        "CKR_KEY_TYPE_INCONSISTENT",
    ] {
        let before = station.journal();
        station.set(&format!("C_SignInit every before return {value}"));
        let got = signs(&keystore).await;
        assert_eq!(got, Err(KeystoreError::Fault { operation: "C_SignInit".to_owned(), code: value.to_owned() }));
        let made = |function: &str| station.journal().calls(function) - before.calls(function);
        assert_eq!((made("C_SignInit"), made("C_Login")), (2, 0), "{value}");
        station.set(&format!("C_SignInit 1 before return {value}"));
        assert_eq!(signs(&keystore).await, Ok(()), "{value}");
        station.set("");
        signs(&keystore).await.unwrap();
    }
}

#[tokio::test]
async fn five_failures_in_a_row_have_everything_set_up_anew_and_four_have_not() {
    let station = FaultyToken::with_keys();
    let keystore = station.open(1);
    let fault = || Err(KeystoreError::Fault { operation: "C_SignInit".to_owned(), code: "CKR_GENERAL_ERROR".to_owned() });
    let initialised = || station.journal().calls("C_Initialize");
    let at_start = initialised();
    for failures in [4, 5] {
        station.set("C_SignInit every before return CKR_GENERAL_ERROR");
        for _ in 0..failures {
            assert_eq!(signs(&keystore).await, fault());
        }
        assert_eq!(keystore.pool().state().ready().is_ok(), failures < 5, "after {failures}");
        station.set("");
        recovered(&keystore).await;
        signs(&keystore).await.unwrap();
        assert_eq!(initialised() - at_start, usize::from(failures == 5));
    }
}

#[tokio::test]
async fn a_token_without_sessions_left_sheds_calls_and_nothing_grows() {
    let station = FaultyToken::with_keys();
    let keystore = station.open(2);
    station.set("C_OpenSession every before return CKR_SESSION_COUNT");
    let open = station.journal().sessions();
    for _ in 0..50 {
        assert_eq!(signs(&keystore).await, Err(KeystoreError::SessionsExhausted));
    }
    assert_eq!(station.journal().sessions(), open);
    keystore.check(None).await.expect("the login's session is open");
    station.set("");
    signs(&keystore).await.unwrap();
    assert_eq!((station.journal().calls("C_Login"), station.journal().calls("C_Initialize")), (1, 1));
}

#[tokio::test]
async fn a_token_that_fails_every_call_is_found_again_when_it_comes_back() {
    let station = FaultyToken::with_keys();
    let keystore = station.open(2);
    signs(&keystore).await.unwrap();
    for value in ["CKR_DEVICE_ERROR", "CKR_DEVICE_REMOVED", "CKR_TOKEN_NOT_PRESENT", "CKR_CRYPTOKI_NOT_INITIALIZED"] {
        station.set(&format!("* every before return {value}"));
        let attempts = station.journal().calls("C_Initialize");
        assert!(matches!(signs(&keystore).await, Err(KeystoreError::Unavailable { .. })), "{value}");
        // The recovery has tried in vain.
        while station.journal().calls("C_Initialize") < attempts + 2 {
            assert!(keystore.check(None).await.is_err(), "{value}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        station.set("");
        recovered(&keystore).await;
        signs(&keystore).await.unwrap();
        wrap_and_unwrap(&keystore, "general", OaepScheme::Sha512).await;
    }
}
