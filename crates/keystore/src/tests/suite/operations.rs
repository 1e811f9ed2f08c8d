//! Signing and unwrapping, singly and concurrently.

use super::Outcome;
use crate::{pkcs11::underneath, tests::support::*, *};

pub(super) async fn every_signature_scheme_works_and_counts_one_use(token: TestToken) -> Outcome {
    let token = token.and_keys();
    let keystore = token.open();
    for scheme in schemes_of(KeyType::Rsa) {
        let before = keystore.key_uses();
        sign_and_verify(&keystore, "general", scheme).await;
        assert_eq!(keystore.key_uses().signatures, before.signatures + 1);
        assert_eq!(keystore.key_uses().decryptions, before.decryptions);
        assert_eq!(keystore.key("general").unwrap().capabilities[scheme.name()], token.signs(scheme));
    }
    Outcome::Works
}

pub(super) async fn every_wrapping_scheme_works_and_counts_one_use(token: TestToken) -> Outcome {
    let token = token.and_keys();
    let keystore = token.open();
    for scheme in OaepScheme::ALL {
        let before = keystore.key_uses();
        wrap_and_unwrap(&keystore, "general", scheme).await;
        assert_eq!(keystore.key_uses().decryptions, before.decryptions + 1);
        assert_eq!(keystore.key_uses().signatures, before.signatures);
        assert_eq!(keystore.key("general").unwrap().capabilities[scheme.name()], token.unwraps());
    }
    Outcome::Works
}

pub(super) async fn keys_of_3072_bits_sign_and_unwrap(token: TestToken) -> Outcome {
    admin::generate_key(&token.access(), "train", TRAIN, NewKey::Rsa { bits: 3072 }).unwrap();
    let keystore = Keystore::open(token.config(&["train"])).unwrap();
    assert_eq!(keystore.key("train").unwrap().bits, 3072);
    sign_and_verify(&keystore, "train", SignScheme::PssSha512MaxSalt).await;
    wrap_and_unwrap(&keystore, "train", OaepScheme::Sha512).await;
    Outcome::Works
}

pub(super) async fn sixty_mixed_calls_at_once_all_succeed(token: TestToken) -> Outcome {
    let token = token.and_keys();
    let keystore = token.open();
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
    Outcome::Works
}

pub(super) async fn wrong_calls_are_told_what_is_wrong(token: TestToken) -> Outcome {
    let token = token.and_keys();
    let keystore = token.open();
    let short = sign(&keystore, "general", SignScheme::Pss(Hash::Sha512), &[0; 32], None).await;
    assert_eq!(short, Err(KeystoreError::DigestLength { expected: 64, got: 32 }));
    let nobody = sign(&keystore, "nobody", SignScheme::Pss(Hash::Sha256), &[0; 32], None).await;
    assert_eq!(nobody, Err(KeystoreError::KeyNotFound { label: "nobody".to_owned() }));
    let closed = keystore.clone();
    assert!(closed.close());
    let late = sign(&keystore, "general", SignScheme::Pss(Hash::Sha256), &[0; 32], None).await;
    assert!(matches!(late, Err(KeystoreError::Unavailable { .. })), "{late:?}");
    Outcome::Works
}

pub(super) async fn one_key_under_two_labels_is_one_key_and_works_while_the_token_shows_either(token: TestToken) -> Outcome {
    let key = openssl::rsa::Rsa::generate(2048).unwrap();
    for (label, id) in [("one", 1), ("other", 2)] {
        if underneath::import(&token, label, id, &key).is_err() {
            return token.takes_no_private_keys();
        }
    }
    let keystore = Keystore::open(token.config(&["one", "other"])).unwrap();
    let [one, other] = ["one", "other"].map(|label| keystore.key(label).unwrap().id);
    assert_eq!((one, one), (other, KeyId::of_spki(&key.public_key_to_der().unwrap())));
    let sign = || keystore.sign(one, SignScheme::PssSha512MaxSalt, &[1; 64], None);
    sign().await.unwrap();
    underneath::delete(&token, "one").unwrap();
    keystore.check(None).await.unwrap();
    assert_eq!(keystore.missing(), ["one"]);
    sign().await.unwrap();
    Outcome::Works
}
