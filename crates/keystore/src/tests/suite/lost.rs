//! Logins, sessions, keys and tokens that are lost while a keystore uses them, and their return.

use std::time::{Duration, Instant};

use super::Outcome;
use crate::{
    pkcs11::{Health, underneath},
    tests::support::*,
    *,
};

const MAX_SALT: SignScheme = SignScheme::PssSha512MaxSalt;

async fn recovered(keystore: &Keystore) {
    let since = Instant::now();
    while let Err(error) = keystore.check(None).await {
        assert!(since.elapsed() < Duration::from_secs(60), "no recovery: {error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub(super) async fn a_lost_login_is_renewed_once_for_all(token: TestToken) -> Outcome {
    let token = token.and_keys();
    let keystore = token.open();
    sign_and_verify(&keystore, "train", MAX_SALT).await;
    underneath::log_out(&keystore);
    let calls = (0..16).map(|_| sign_and_verify(&keystore, "train", MAX_SALT));
    futures_util::future::join_all(calls).await;
    wrap_and_unwrap(&keystore, "general", OaepScheme::Sha512).await;
    underneath::log_out(&keystore);
    keystore.check(None).await.unwrap();
    assert_eq!(keystore.pool().state().health(), Health::Ready);
    Outcome::Works
}

pub(super) async fn sessions_lost_underneath_are_opened_again(token: TestToken) -> Outcome {
    let token = token.and_keys();
    let config = KeystoreConfig { sessions: 1, ..token.config(&["train", "general"]) };
    let keystore = Keystore::open(config).unwrap();
    sign_and_verify(&keystore, "train", MAX_SALT).await;
    // Other code in the process initialises the module again: all sessions and the login are lost.
    underneath::initialise_anew(&token);
    sign_and_verify(&keystore, "train", MAX_SALT).await;
    wrap_and_unwrap(&keystore, "train", OaepScheme::Sha512).await;
    keystore.check(None).await.unwrap();
    Outcome::Works
}

pub(super) async fn a_finalised_module_is_set_up_again(token: TestToken) -> Outcome {
    let token = token.and_keys();
    let keystore = token.open();
    sign_and_verify(&keystore, "train", MAX_SALT).await;
    underneath::finalise(&token);
    let refused = sign(&keystore, "train", MAX_SALT, &[0; 64], None).await;
    assert!(matches!(refused, Err(KeystoreError::Unavailable { .. })), "{refused:?}");
    recovered(&keystore).await;
    sign_and_verify(&keystore, "train", MAX_SALT).await;
    Outcome::Works
}

pub(super) async fn a_deleted_key_is_missed_and_its_successor_found(token: TestToken) -> Outcome {
    let token = token.and_keys();
    let keystore = token.open();
    let first = keystore.key("general").unwrap();
    sign_and_verify(&keystore, "general", MAX_SALT).await;
    if underneath::delete(&token, "general").is_err() {
        assert_eq!(token.kind, TokenKind::Tpm);
        return Outcome::Cannot("it deletes no key while a process uses it");
    }
    let missing = KeystoreError::KeyNotFound { label: "general".to_owned() };
    for _ in 0..3 {
        let refused = sign(&keystore, "general", MAX_SALT, &[0; 64], None).await;
        assert_eq!(refused, Err(missing.clone()));
    }
    assert_eq!(keystore.keys().len(), 1);
    keystore.check(None).await.unwrap();

    token.generate("general", KeyUsage::ALL);
    sign_and_verify(&keystore, "general", MAX_SALT).await;
    wrap_and_unwrap(&keystore, "general", OaepScheme::Sha512).await;
    assert_ne!(keystore.key("general").unwrap().id, first.id);
    let replaced = keystore.sign(first.id, MAX_SALT, &[0; 64], None).await;
    assert!(matches!(replaced, Err(KeystoreError::KeyNotFound { .. })), "its successor has its label: {replaced:?}");
    Outcome::Works
}

pub(super) async fn a_vanished_token_is_noticed_and_so_is_its_return(token: TestToken) -> Outcome {
    let token = token.and_keys();
    let keystore = token.open();
    let files = token.files();
    let away = files.with_file_name("away");
    std::fs::rename(&files, &away).unwrap();
    std::fs::create_dir(&files).unwrap();
    if matches!(token.kind, TokenKind::Nss | TokenKind::Kryoptic | TokenKind::Tpm | TokenKind::OpenCryptoki) {
        keystore.check(None).await.unwrap();
        sign_and_verify(&keystore, "train", MAX_SALT).await;
        std::fs::remove_dir(&files).unwrap();
        std::fs::rename(&away, &files).unwrap();
        return Outcome::Cannot("it keeps what it has read, and works without its files' names");
    }
    let gone = keystore.check(None).await;
    assert!(matches!(gone, Err(KeystoreError::Unavailable { .. })), "{gone:?}");
    assert!(matches!(keystore.pool().state().health(), Health::Down { .. }));
    tokio::time::sleep(Duration::from_millis(1200)).await;
    std::fs::remove_dir(&files).unwrap();
    std::fs::rename(&away, &files).unwrap();
    recovered(&keystore).await;
    assert_eq!(keystore.pool().state().health(), Health::Ready);
    sign_and_verify(&keystore, "train", MAX_SALT).await;
    wrap_and_unwrap(&keystore, "general", OaepScheme::Sha512).await;
    Outcome::Works
}
