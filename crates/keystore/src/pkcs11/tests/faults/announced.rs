//! A call's record announces one use of a key. A second one, after a failure, is announced before it is made.

use std::sync::Arc;

use super::*;
use crate::{
    pkcs11::tests::{MAX_SALT, Told},
    tests::several_tokens::{OTHER, import, second_token},
    *,
};

/// Returns the number of uses announced in addition to the calls themselves, and the number of uses.
async fn announced_and_used(keystore: &Keystore, calls: usize) -> (u64, u64) {
    let told = Arc::new(Told::default());
    keystore.announce_trials_to(told.clone());
    let (id, before) = (keystore.key("train").unwrap().id, keystore.key_uses().signatures);
    for _ in 0..calls {
        keystore.sign(id, MAX_SALT, &[1; 64], None).await.unwrap();
    }
    let announced = lock(&told.announced).iter().map(|(_, most)| most.signatures).sum();
    (announced, keystore.key_uses().signatures - before)
}

#[tokio::test]
async fn a_second_use_in_a_new_session_is_announced() {
    let station = FaultyToken::with_keys();
    let keystore = station.open(1);
    station.set("C_Sign 2 before return CKR_SESSION_HANDLE_INVALID");
    assert_eq!(announced_and_used(&keystore, 3).await, (1, 4));
}

#[tokio::test]
async fn a_second_use_by_another_token_is_announced() {
    let token = TestToken::new();
    let other = second_token(&token);
    import(&token, &[TOKEN, OTHER], "train");
    let station = FaultyToken::over(token);
    let faulty = station.token.config_with(station.access(), &["train"]);
    let standby = KeystoreConfig { standby: true, ..station.token.config_with(other, &["train"]) };
    let keystore = Keystore::open_tokens(vec![faulty, standby]).unwrap();
    station.set("C_Sign every before return CKR_DEVICE_REMOVED");
    let (announced, used) = announced_and_used(&keystore, 3).await;
    assert!(announced >= 1 && used <= 3 + announced, "{used} uses, {announced} announced");
}
