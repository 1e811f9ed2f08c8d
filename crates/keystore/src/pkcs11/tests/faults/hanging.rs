//! Calls that hang in the module.

use std::time::{Duration, Instant};

use super::*;
use crate::{
    admin::init_token,
    pkcs11::tests::MAX_SALT,
    tests::several_tokens::{OTHER, import},
    *,
};

#[tokio::test]
async fn a_caller_whose_signature_hangs_gets_an_answer_at_its_deadline_and_others_are_served() {
    let station = FaultyToken::with_keys();
    let keystore = station.open(2);
    sign_and_verify(&keystore, "train", MAX_SALT).await;
    let held = station.token.dir.path().join("held");
    std::fs::write(&held, "").unwrap();
    station.set(&format!("C_Sign 2 before hang until {}", held.display()));
    let deadline = Instant::now() + Duration::from_millis(200);
    let hung = sign(&keystore, "train", MAX_SALT, &[1; 64], Some(deadline)).await;
    assert_eq!(hung, Err(KeystoreError::DeadlineExceeded));
    let in_module = |station: &FaultyToken| {
        let journal = station.journal();
        journal.calls("C_Sign")
            - journal.entries().iter().filter(|entry| entry.function == "C_Sign" && entry.end.is_some()).count()
    };
    assert_eq!(in_module(&station), 1, "the call is still in the module");
    for _ in 0..10 {
        sign_and_verify(&keystore, "train", MAX_SALT).await;
        wrap_and_unwrap(&keystore, "general", OaepScheme::Sha512).await;
        keystore.check(None).await.unwrap();
    }
    assert_eq!(in_module(&station), 1);
    std::fs::remove_file(&held).unwrap();
    assert!(keystore.close(), "the call came back");
    assert_eq!(in_module(&station), 0);
}

#[tokio::test]
async fn a_module_is_not_finalised_for_one_token_while_a_call_of_another_one_hangs_in_it() {
    let station = FaultyToken::over(TestToken::new());
    let module = station.token.module_config();
    init_token(&module, OTHER, &secret(SO_PIN), &secret(PIN)).unwrap();
    import(&station.token, &[TOKEN, OTHER], "train");
    let other = TokenAccess { token: TokenSelector::label(OTHER), ..station.access() };
    let short = |access| KeystoreConfig {
        sessions: 1,
        call_timeout: Duration::from_millis(200),
        ..station.token.config_with(access, &["train"])
    };
    let standby = KeystoreConfig { standby: true, ..short(other) };
    let keystore = Keystore::open_tokens(vec![short(station.access()), standby]).unwrap();
    let held = station.token.dir.path().join("held");
    std::fs::write(&held, "").unwrap();
    station.set(&format!("C_Sign 1 before hang until {}", held.display()));
    // The first token's call hangs, and the second one answers.
    sign_and_verify(&keystore, "train", MAX_SALT).await;
    while keystore.tokens()[0].hung == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Then both are lost.
    let finalised = station.journal().calls("C_Finalize");
    station.set("* every before return CKR_DEVICE_REMOVED");
    let is_lost = |token: &TokenStatus| token.unavailable.is_some();
    while !keystore.tokens().iter().all(is_lost) {
        let _ = keystore.check(None).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Attempts to recover the second token.
    let initialised = station.journal().calls("C_Initialize");
    while station.journal().calls("C_Initialize") < initialised + 6 {
        let _ = keystore.check(None).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(station.journal().calls("C_Finalize"), finalised, "finalised while a call hangs in the module");
    std::fs::remove_file(&held).unwrap();
    station.set("");
    while keystore.tokens().iter().any(is_lost) {
        let _ = keystore.check(None).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    sign_and_verify(&keystore, "train", MAX_SALT).await;
    assert!(keystore.close());
}
