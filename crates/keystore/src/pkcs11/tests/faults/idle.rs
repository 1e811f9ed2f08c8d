//! Idle sessions, as behind a firewall that closes idle connections.

use std::time::Duration;

use super::*;
use crate::{
    pkcs11::tests::{MAX_SALT, recovered},
    *,
};

fn open(station: &FaultyToken, keep_alive: Option<Duration>) -> Keystore {
    let config = station.token.config_with(station.access(), &["train", "general"]);
    Keystore::open(KeystoreConfig { sessions: 1, keep_alive, ..config }).unwrap()
}

async fn looks(station: &FaultyToken, for_ms: u64) -> usize {
    let before = station.journal().calls("C_GetSessionInfo");
    tokio::time::sleep(Duration::from_millis(for_ms)).await;
    station.journal().calls("C_GetSessionInfo") - before
}

#[tokio::test]
async fn an_idle_session_is_used_where_this_is_configured_and_left_alone_otherwise() {
    let station = FaultyToken::with_keys();
    for (keep_alive, is_used) in [(Some(Duration::from_millis(50)), true), (None, false)] {
        let keystore = open(&station, keep_alive);
        sign_and_verify(&keystore, "train", MAX_SALT).await;
        let uses = keystore.key_uses();
        assert_eq!(looks(&station, 400).await > 0, is_used, "{keep_alive:?}");
        assert_eq!(keystore.key_uses(), uses, "an idle session uses no key");
    }
}

#[tokio::test]
async fn a_token_that_is_lost_while_nobody_calls_is_found_again_before_the_next_call() {
    let station = FaultyToken::with_keys();
    let keystore = open(&station, Some(Duration::from_millis(50)));
    sign_and_verify(&keystore, "train", MAX_SALT).await;
    station.set("* every before return CKR_DEVICE_REMOVED");
    while keystore.tokens()[0].unavailable.is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    station.set("");
    recovered(&keystore).await;
    sign_and_verify(&keystore, "train", MAX_SALT).await;
}
