//! Tests of keystores with several tokens: one key on two of them, tokens that are away, and calls that hang.

use std::{path::Path, process::Command, sync::Arc, time::Duration};

use openssl::{pkey::PKey, rsa::Rsa};

use super::support::*;
use crate::{admin::init_token, pkcs11::Task, *};

pub(crate) const OTHER: &str = "other";
const MAX_SALT: SignScheme = SignScheme::PssSha512MaxSalt;

/// A second token, through a module of its own: a copy of the library is another one to the loader.
pub(crate) fn second_token(station: &TestToken) -> TokenAccess {
    let module = station.dir.path().join("libsofthsm2.so");
    std::fs::copy(&station.module, &module).unwrap();
    let module = ModuleConfig::from(module);
    init_token(&module, OTHER, &secret(SO_PIN), &secret(PIN)).unwrap();
    TokenAccess::new(module, TokenSelector::label(OTHER), kept(PIN))
}

/// Imports one key into tokens, as a restore from a backup does.
pub(crate) fn import(station: &TestToken, tokens: &[&str], label: &str) {
    import_as(station, &tokens.iter().map(|token| (*token, label)).collect::<Vec<_>>());
}

/// Imports one key into tokens, under these labels.
fn import_as(station: &TestToken, places: &[(&str, &str)]) {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let pem = station.dir.path().join("imported.pem");
    std::fs::write(&pem, key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    for (token, label) in places {
        let imported = Command::new("softhsm2-util")
            .args([
                "--import",
                pem.to_str().unwrap(),
                "--token",
                token,
                "--pin",
                PIN,
                "--label",
                label,
                "--id",
                &const_hex::encode(label),
            ])
            .output()
            .unwrap();
        assert!(imported.status.success(), "{imported:?}");
    }
}

/// The directory of a SoftHSM token, by its label.
fn directory_of(station: &TestToken, label: &str) -> std::path::PathBuf {
    let tokens = std::fs::read_dir(station.dir.path().join("tokens")).unwrap().map(|entry| entry.unwrap().path());
    let has_label = |directory: &Path| {
        let object = std::fs::read(directory.join("token.object")).unwrap();
        object.windows(label.len()).any(|part| part == label.as_bytes())
    };
    tokens.into_iter().find(|directory| has_label(directory)).unwrap()
}

async fn served(keystore: &Keystore, id: KeyId) -> Result<Vec<u8>, KeystoreError> {
    keystore.sign(id, MAX_SALT, &[7; 64], None).await
}

async fn until_all_serve(keystore: &Keystore) {
    for _ in 0..100 {
        let _ = keystore.check(None).await;
        if keystore.tokens().iter().all(|token| token.unavailable.is_none()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{:?}", keystore.tokens());
}

#[tokio::test]
async fn a_key_on_two_tokens_is_one_key_and_is_served_while_either_is_there() {
    let station = TestToken::new();
    let other = second_token(&station);
    import(&station, &[TOKEN, OTHER], "train");
    let configs = vec![station.config(&["train"]), station.config_with(other, &["train"])];
    let keystore = Keystore::open_tokens(configs).unwrap();
    let key = keystore.key("train").unwrap();
    let uris: Vec<_> = key.uris.iter().map(ToString::to_string).collect();
    assert_eq!((keystore.keys().len(), uris.len()), (1, 2), "{uris:?}");
    assert!(uris[0].starts_with("pkcs11:token=station;") && uris[1].starts_with("pkcs11:token=other;"), "{uris:?}");
    for away in [TOKEN, OTHER] {
        let (directory, aside) = (directory_of(&station, away), station.dir.path().join("aside"));
        std::fs::rename(&directory, &aside).unwrap();
        for _ in 0..8 {
            served(&keystore, key.id).await.unwrap();
        }
        keystore.check(None).await.unwrap();
        let states: Vec<_> = keystore.tokens().into_iter().map(|token| (token.name, token.unavailable.is_none())).collect();
        assert_eq!(states, [(TOKEN.to_owned(), away != TOKEN), (OTHER.to_owned(), away != OTHER)]);
        std::fs::rename(&aside, &directory).unwrap();
        until_all_serve(&keystore).await;
    }
    sign_and_verify(&keystore, "train", MAX_SALT).await;
    wrap_and_unwrap(&keystore, "train", OaepScheme::Sha512).await;
}

#[tokio::test]
async fn a_key_under_another_label_on_the_second_token_is_found_by_its_public_key() {
    let station = TestToken::new();
    let other = second_token(&station);
    // The second token shows none of the configured labels at first sight, then one of two.
    import_as(&station, &[(TOKEN, "train"), (OTHER, "train-2024")]);
    let configs = |labels: &[&str]| vec![station.config(labels), station.config_with(other.clone(), labels)];
    for labels in [&["train"][..], &["general", "train"]] {
        let keystore = Keystore::open_tokens(configs(labels)).unwrap();
        until_all_serve(&keystore).await;
        keystore.check(None).await.unwrap();
        let key = keystore.key("train").unwrap();
        let uris: Vec<_> = key.uris.iter().map(ToString::to_string).collect();
        assert_eq!(uris.len(), 2, "{uris:?}");
        assert!(uris[0].contains("object=train;") && uris[1].contains("object=train-2024;"), "{uris:?}");
        assert_eq!(keystore.keys().len(), labels.len(), "the other label is no key of its own");
        // Both serve, and either serves alone.
        let before = keystore.calls_by_token();
        for _ in 0..20 {
            served(&keystore, key.id).await.unwrap();
        }
        let calls: Vec<_> = keystore.calls_by_token().iter().zip(before).map(|(now, before)| now - before).collect();
        assert_eq!(calls, [10, 10]);
        for away in [TOKEN, OTHER] {
            let (directory, aside) = (directory_of(&station, away), station.dir.path().join("aside"));
            std::fs::rename(&directory, &aside).unwrap();
            for _ in 0..8 {
                served(&keystore, key.id).await.unwrap();
            }
            keystore.check(None).await.unwrap();
            std::fs::rename(&aside, &directory).unwrap();
            until_all_serve(&keystore).await;
        }
        assert!(keystore.close());
        if labels.len() == 1 {
            import(&station, &[TOKEN, OTHER], "general");
        }
    }
}

#[tokio::test]
async fn a_key_that_is_not_the_same_is_not_taken_for_one_under_another_label() {
    let station = TestToken::new();
    let other = second_token(&station);
    import(&station, &[TOKEN, OTHER], "general");
    import(&station, &[TOKEN], "train");
    import(&station, &[OTHER], "train-2024");
    let labels = ["general", "train"];
    let keystore = Keystore::open_tokens(vec![station.config(&labels), station.config_with(other, &labels)]).unwrap();
    until_all_serve(&keystore).await;
    keystore.check(None).await.unwrap();
    assert_eq!((keystore.key("general").unwrap().uris.len(), keystore.key("train").unwrap().uris.len()), (2, 1));
    std::fs::rename(directory_of(&station, TOKEN), station.dir.path().join("aside")).unwrap();
    let key = keystore.key("train").unwrap();
    served(&keystore, key.id).await.unwrap_err();
}

#[tokio::test]
async fn tokens_share_calls_by_weight_and_a_standby_gets_none_until_it_is_needed() {
    let station = TestToken::new();
    let other = second_token(&station);
    import(&station, &[TOKEN, OTHER], "train");
    let configs = |standby, weight| {
        let second = KeystoreConfig { standby, weight, ..station.config_with(other.clone(), &["train"]) };
        vec![station.config(&["train"]), second]
    };
    for (standby, weight, expected) in [(false, 1, [30, 30]), (false, 2, [20, 40]), (true, 1, [60, 0])] {
        let keystore = Keystore::open_tokens(configs(standby, weight)).unwrap();
        let key = keystore.key("train").unwrap();
        let before = keystore.calls_by_token();
        for _ in 0..60 {
            served(&keystore, key.id).await.unwrap();
        }
        let calls: Vec<_> = keystore.calls_by_token().iter().zip(before).map(|(now, before)| now - before).collect();
        assert_eq!(calls, expected, "standby {standby}, weight {weight}");
    }
}

#[tokio::test]
async fn a_call_that_hangs_in_one_token_is_answered_by_the_other() {
    let station = TestToken::new();
    let other = second_token(&station);
    import(&station, &[TOKEN, OTHER], "train");
    let short = |config| KeystoreConfig { sessions: 1, call_timeout: Duration::from_millis(200), ..config };
    let configs = vec![
        short(station.config(&["train"])),
        KeystoreConfig { standby: true, ..short(station.config_with(other, &["train"])) },
    ];
    let keystore = Keystore::open_tokens(configs).unwrap();
    let key = keystore.key("train").unwrap();
    // Holds the first token's only worker; the watchdog replaces it.
    let held = keystore.pool().hold_worker();
    served(&keystore, key.id).await.unwrap();
    while keystore.tokens()[0].hung == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for _ in 0..4 {
        served(&keystore, key.id).await.unwrap();
    }
    assert!(keystore.tokens()[0].unavailable.is_none(), "one hung call does not make a token unusable");
    drop(held);
    while keystore.tokens()[0].hung > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(keystore.close());
}

#[tokio::test]
async fn the_caller_of_a_hung_call_gets_an_answer_and_a_new_worker_serves_the_next() {
    let station = TestToken::with_keys();
    let config = KeystoreConfig { sessions: 1, call_timeout: Duration::from_millis(200), ..station.config(&["train"]) };
    let keystore = Keystore::open(config).unwrap();
    let (begun, _begins) = crossbeam_channel::bounded(1);
    let (release, until) = crossbeam_channel::bounded(0);
    let answer = keystore.pool().call(&Arc::from("test"), Task::Hang { begun, until }, None).await;
    assert!(matches!(answer, Err(KeystoreError::Unavailable { .. })), "{answer:?}");
    sign_and_verify(&keystore, "train", MAX_SALT).await;
    keystore.check(None).await.unwrap();
    drop::<crossbeam_channel::Sender<()>>(release);
}

#[tokio::test]
async fn many_hung_calls_make_the_token_unusable_until_they_return() {
    let station = TestToken::with_keys();
    let config = KeystoreConfig { sessions: 4, call_timeout: Duration::from_millis(100), ..station.config(&["train"]) };
    let keystore = Keystore::open(config).unwrap();
    let mut held = Vec::new();
    while keystore.tokens()[0].unavailable.is_none() {
        held.push(keystore.pool().hold_worker());
        assert!(held.len() <= 16, "there is no bound on hung calls");
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    let key = keystore.key("train").unwrap();
    assert!(matches!(served(&keystore, key.id).await, Err(KeystoreError::Unavailable { .. })));
    drop(held);
    until_all_serve(&keystore).await;
    sign_and_verify(&keystore, "train", MAX_SALT).await;
    assert!(keystore.close());
}

#[tokio::test]
async fn a_token_that_is_away_at_the_start_is_used_when_it_appears() {
    let station = TestToken::new();
    let other = second_token(&station);
    import(&station, &[TOKEN, OTHER], "train");
    import(&station, &[OTHER], "general");
    let configs = || vec![station.config(&["train"]), station.config_with(other.clone(), &["train"])];
    let (directory, aside) = (directory_of(&station, OTHER), station.dir.path().join("aside"));
    std::fs::rename(&directory, &aside).unwrap();
    let keystore = Keystore::open_tokens(configs()).unwrap();
    let away = keystore.tokens().remove(1).unavailable;
    assert!(matches!(away, Some(KeystoreError::TokenNotFound { .. })), "{away:?}");
    sign_and_verify(&keystore, "train", MAX_SALT).await;

    // A key that only the missing token has: not a start that looks like success.
    let needed = vec![station.config(&["train"]), station.config_with(other.clone(), &["train", "general"])];
    let refused = Keystore::open_tokens(needed).unwrap_err();
    assert!(matches!(refused, KeystoreError::TokenNotFound { .. }), "{refused:?}");

    std::fs::rename(&aside, &directory).unwrap();
    until_all_serve(&keystore).await;
    assert_eq!(keystore.key("train").unwrap().uris.len(), 2);
}

#[tokio::test]
async fn a_lost_token_does_not_interrupt_another_one_of_its_module_and_names_what_gives_it_its_own() {
    let station = TestToken::new();
    init_token(&station.module_config(), OTHER, &secret(SO_PIN), &secret(PIN)).unwrap();
    import(&station, &[TOKEN, OTHER], "train");
    let other = TokenAccess::new(station.module_config(), TokenSelector::label(OTHER), kept(PIN));
    let keystore = Keystore::open_tokens(vec![station.config(&["train"]), station.config_with(other, &["train"])]).unwrap();
    until_all_serve(&keystore).await;
    let key = keystore.key("train").unwrap();
    let (directory, aside) = (directory_of(&station, TOKEN), station.dir.path().join("aside"));
    std::fs::rename(&directory, &aside).unwrap();
    let reason = loop {
        served(&keystore, key.id).await.unwrap();
        let _ = keystore.check(None).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        match keystore.tokens().remove(0).unavailable {
            Some(KeystoreError::Unavailable { reason }) if reason.contains("another token") => break reason,
            _ => {}
        }
    };
    assert!(reason.contains("isolation = \"process\""), "{reason}");
    std::fs::rename(&aside, &directory).unwrap();
    for _ in 0..20 {
        served(&keystore, key.id).await.unwrap();
        let _ = keystore.check(None).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // When no token of the module is in use, the module is set up anew for all of them.
    let (directory, aside) = (directory_of(&station, OTHER), station.dir.path().join("aside"));
    std::fs::rename(&directory, &aside).unwrap();
    while keystore.tokens()[1].unavailable.is_none() {
        let _ = served(&keystore, key.id).await;
        let _ = keystore.check(None).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    std::fs::rename(&aside, &directory).unwrap();
    until_all_serve(&keystore).await;
    served(&keystore, key.id).await.unwrap();
}

#[tokio::test]
async fn two_keys_of_one_label_on_two_tokens_are_refused() {
    let station = TestToken::new();
    let other = second_token(&station);
    import(&station, &[TOKEN], "train");
    import(&station, &[OTHER], "train");
    let configs = vec![station.config(&["train"]), station.config_with(other, &["train"])];
    let error = Keystore::open_tokens(configs).unwrap_err();
    let tokens = [TOKEN.to_owned(), OTHER.to_owned()];
    assert_eq!(error, KeystoreError::KeysDiffer { label: "train".to_owned(), tokens });
    assert!(error.hint().is_some());
}

#[tokio::test]
async fn keys_may_be_spread_over_tokens() {
    let station = TestToken::new();
    let other = second_token(&station);
    import(&station, &[TOKEN], "train");
    import(&station, &[OTHER], "general");
    let labels = ["train", "general"];
    let keystore = Keystore::open_tokens(vec![station.config(&labels), station.config_with(other, &labels)]).unwrap();
    assert_eq!(keystore.missing(), [""; 0]);
    sign_and_verify(&keystore, "train", MAX_SALT).await;
    sign_and_verify(&keystore, "general", SignScheme::Pkcs1(Hash::Sha256)).await;
    // While a token is away, a key that only it has is unavailable, not unknown.
    let general = keystore.key("general").unwrap();
    std::fs::rename(directory_of(&station, OTHER), station.dir.path().join("aside")).unwrap();
    let _ = served(&keystore, general.id).await;
    assert!(keystore.check(None).await.is_err());
    let refused = served(&keystore, general.id).await;
    assert!(matches!(refused, Err(KeystoreError::Unavailable { .. })), "{refused:?}");
    sign_and_verify(&keystore, "train", MAX_SALT).await;
}
