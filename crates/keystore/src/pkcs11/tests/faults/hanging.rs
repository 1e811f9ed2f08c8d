//! Calls that hang in the module.

use std::time::{Duration, Instant};

use super::*;
use crate::{pkcs11::tests::MAX_SALT, *};

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
