//! Tests of signing and unwrapping, singly and concurrently.

use std::time::{Duration, Instant};

use super::support::*;
use crate::{verify::wrap, *};

#[tokio::test]
async fn every_scheme_of_a_general_key_works_and_counts_one_use() {
    let station = TestToken::with_keys();
    let keystore = station.open();
    for scheme in SignScheme::ALL {
        let before = keystore.key_uses();
        sign_and_verify(&keystore, "general", scheme).await;
        assert_eq!(keystore.key_uses().signatures, before.signatures + 1);
    }
    for scheme in OaepScheme::ALL {
        let before = keystore.key_uses();
        wrap_and_unwrap(&keystore, "general", scheme).await;
        assert_eq!(keystore.key_uses().decryptions, before.decryptions + 1);
    }
    let key = keystore.key("general").unwrap();
    assert_eq!(key.capabilities["RSA_OAEP_SHA512"], Capability::Raw, "SoftHSM 2.6.1 has no OAEP with SHA-512");
    assert_eq!(key.capabilities["RSA_PSS_SHA512_MAX_SALT"], Capability::Native);
    assert_eq!(key.capabilities.len(), 9);
}

#[tokio::test]
async fn a_train_key_does_what_trains_need_and_not_v1_5() {
    let station = TestToken::with_keys();
    let keystore = station.open();
    sign_and_verify(&keystore, "train", SignScheme::PssSha512MaxSalt).await;
    wrap_and_unwrap(&keystore, "train", OaepScheme::Sha512).await;
    let refused = sign(&keystore, "train", SignScheme::Pkcs1(Hash::Sha256), &[0; 32], None).await;
    assert!(matches!(refused, Err(KeystoreError::MechanismUnsupported { .. })), "{refused:?}");
    let info = keystore.key("train").unwrap();
    assert!(info.sensitive && info.never_extractable && info.generated_in_token && !info.extractable);
    assert_eq!((info.bits, info.cka_id.len()), (2048, 16));
}

#[tokio::test]
async fn sixty_mixed_calls_at_once_all_succeed() {
    let station = TestToken::with_keys();
    let keystore = station.open();
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..60 {
        let keystore = keystore.clone();
        calls.spawn(async move {
            let label = if number % 2 == 0 { "train" } else { "general" };
            if number % 3 == 0 {
                wrap_and_unwrap(&keystore, label, OaepScheme::Sha512).await;
            } else {
                sign_and_verify(&keystore, label, SignScheme::PssSha512MaxSalt).await;
            }
        });
    }
    calls.join_all().await;
}

#[tokio::test]
async fn everything_wrong_with_a_wrapped_key_looks_the_same() {
    let station = TestToken::with_keys();
    let keystore = station.open();
    let wrapped = wrap(&public(&keystore, "general"), OaepScheme::Sha512, &[7; 32]).unwrap();
    let flipped: Vec<u8> = wrapped.iter().enumerate().map(|(i, byte)| if i == 100 { byte ^ 1 } else { *byte }).collect();
    let other_hash = wrap(&public(&keystore, "general"), OaepScheme::Sha256, &[7; 32]).unwrap();
    let other_key = wrap(&public(&keystore, "train"), OaepScheme::Sha512, &[7; 32]).unwrap();
    for bad in [&flipped[..], &other_hash, &[0; 256], &[0xff; 256], &wrapped[1..], b"", &[wrapped.clone(), vec![0]].concat()] {
        let refused = unwrap(&keystore, "general", OaepScheme::Sha512, bad, None).await;
        assert_eq!(refused.err(), Some(KeystoreError::UnwrapFailed), "{} bytes", bad.len());
    }
    // Modulo chance, a ciphertext for another key of the size is noise for this one.
    assert!(unwrap(&keystore, "general", OaepScheme::Sha512, &other_key, None).await.is_err());
    wrap_and_unwrap(&keystore, "general", OaepScheme::Sha512).await;
}

#[tokio::test]
async fn without_raw_unwrapping_the_scheme_is_refused_not_weakened() {
    let station = TestToken::with_keys();
    let config = KeystoreConfig { allow_raw_unwrap: false, ..station.config(&["train"]) };
    let keystore = Keystore::open(config).unwrap();
    assert_eq!(keystore.key("train").unwrap().capabilities["RSA_OAEP_SHA512"], Capability::No);
    let before = keystore.key_uses();
    let refused = unwrap(&keystore, "train", OaepScheme::Sha512, &[1; 256], None).await;
    let error = refused.unwrap_err();
    assert!(matches!(error, KeystoreError::MechanismUnsupported { .. }) && error.hint().is_some());
    assert_eq!(keystore.key_uses(), before);
}

#[tokio::test]
async fn a_call_whose_deadline_passes_in_the_queue_is_not_carried_out() {
    let station = TestToken::with_keys();
    let config = KeystoreConfig { sessions: 1, ..station.config(&["general"]) };
    let keystore = Keystore::open(config).unwrap();
    // The one worker is kept from working: it cannot lock its slot.
    let slot = keystore.pool.hold_first_slot();
    let before = keystore.key_uses();
    let sign = |deadline| sign(&keystore, "general", SignScheme::Pss(Hash::Sha256), &[1; 32], deadline);
    let soon = || Some(Instant::now() + Duration::from_millis(30));
    // The first is taken up by the worker, which waits for its slot; the others stay in the queue.
    let late = futures_util::future::join_all((0..5).map(|_| sign(soon()))).await;
    assert!(late.iter().all(|answer| answer == &Err(KeystoreError::DeadlineExceeded)), "{late:?}");
    drop(slot);
    sign(None).await.unwrap();
    let done = keystore.key_uses().signatures - before.signatures;
    assert!(done <= 2, "{done} signatures: at most the one taken up, and the last");
    let past = sign(Some(Instant::now() - Duration::from_secs(1))).await;
    assert_eq!(past, Err(KeystoreError::DeadlineExceeded));
}

#[tokio::test]
async fn a_full_queue_turns_callers_away() {
    let station = TestToken::with_keys();
    let config = KeystoreConfig { sessions: 1, queue: 2, ..station.config(&["general"]) };
    let keystore = Keystore::open(config).unwrap();
    let slot = keystore.pool.hold_first_slot();
    let soon = Some(Instant::now() + Duration::from_millis(100));
    let answers =
        futures_util::future::join_all((0..8).map(|_| sign(&keystore, "general", SignScheme::Pss(Hash::Sha256), &[1; 32], soon)))
            .await;
    assert!(answers.contains(&Err(KeystoreError::Overloaded)), "{answers:?}");
    drop(slot);
    // Those that were given up still stand in the queue; they go first.
    while sign(&keystore, "general", SignScheme::Pss(Hash::Sha256), &[1; 32], None).await == Err(KeystoreError::Overloaded) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sign_and_verify(&keystore, "general", SignScheme::Pss(Hash::Sha256)).await;
}

#[tokio::test]
async fn wrong_calls_are_told_what_is_wrong() {
    let station = TestToken::with_keys();
    let keystore = station.open();
    let short = sign(&keystore, "general", SignScheme::Pss(Hash::Sha512), &[0; 32], None).await;
    assert_eq!(short, Err(KeystoreError::DigestLength { expected: 64, got: 32 }));
    let nobody = sign(&keystore, "nobody", SignScheme::Pss(Hash::Sha256), &[0; 32], None).await;
    assert_eq!(nobody, Err(KeystoreError::KeyNotFound { label: "nobody".to_owned() }));
    let closed = keystore.clone();
    assert!(closed.close());
    let late = sign(&keystore, "general", SignScheme::Pss(Hash::Sha256), &[0; 32], None).await;
    assert!(matches!(late, Err(KeystoreError::Unavailable { .. })), "{late:?}");
}

#[tokio::test]
async fn one_key_under_two_labels_is_one_key_and_works_while_the_token_shows_either() {
    let station = TestToken::new();
    let pem = station.dir.path().join("key.pem");
    let key = openssl::pkey::PKey::from_rsa(openssl::rsa::Rsa::generate(2048).unwrap()).unwrap();
    std::fs::write(&pem, key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    for (label, id) in [("one", "01"), ("other", "02")] {
        let imported = std::process::Command::new("softhsm2-util")
            .args(["--import", pem.to_str().unwrap(), "--token", TOKEN, "--pin", PIN, "--label", label, "--id", id])
            .output()
            .unwrap();
        assert!(imported.status.success(), "{imported:?}");
    }
    let keystore = Keystore::open(station.config(&["one", "other"])).unwrap();
    let [one, other] = ["one", "other"].map(|label| keystore.key(label).unwrap().id);
    assert_eq!((one, one), (other, KeyId::of_spki(&key.public_key_to_der().unwrap())));
    let sign = || keystore.sign(one, SignScheme::PssSha512MaxSalt, &[1; 64], None);
    sign().await.unwrap();
    station.delete("one");
    keystore.check(None).await.unwrap();
    assert_eq!(keystore.missing(), ["one"]);
    sign().await.unwrap();
}
