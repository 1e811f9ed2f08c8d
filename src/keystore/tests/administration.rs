//! Tokens and keys: making, listing, and what is said when they are missing.

use super::support::*;
use crate::keystore::admin::*;
use crate::keystore::*;

#[test]
fn a_generated_key_was_made_in_the_token_and_cannot_leave_it() {
    let station = Station::new();
    for (label, purpose) in [("train", Purpose::Train), ("general", Purpose::General)] {
        let made = station.generate(label, purpose);
        assert!(made.mechanisms_restricted, "SoftHSM takes CKA_ALLOWED_MECHANISMS");
        let info = made.info;
        assert!(info.sensitive && info.never_extractable && info.generated_in_token && !info.extractable);
        assert_eq!((&info.label[..], info.purpose, info.bits), (label, purpose, 2048));
    }
    let listed = list_keys(&station.config(&[]).access()).unwrap();
    assert_eq!(listed.iter().map(|key| &key.label[..]).collect::<Vec<_>>(), ["general", "train"]);
    assert!(listed.iter().all(|key| key.never_extractable && key.generated_in_token && key.bits == 2048));
}

#[test]
fn nothing_that_exists_is_replaced() {
    let station = Station::with_keys();
    let access = station.config(&[]).access();
    let again = generate_key(&access, "train", Purpose::General, 2048);
    assert_eq!(again.err(), Some(KeystoreError::LabelExists { label: "train".to_owned() }));
    let token = init_token(&station.module, TOKEN, &secret(SO_PIN), &secret(PIN));
    assert_eq!(token.err(), Some(KeystoreError::TokenExists { label: TOKEN.to_owned() }));
    assert_eq!(list_keys(&access).unwrap().len(), 2);
}

#[test]
fn sizes_and_labels_out_of_range_are_refused() {
    let station = Station::new();
    let access = station.config(&[]).access();
    for bits in [0, 1024, 2047, 8192] {
        let refused = generate_key(&access, "key", Purpose::General, bits);
        assert_eq!(refused.err(), Some(KeystoreError::KeySize { bits }));
    }
    let long = "x".repeat(33);
    let refused = init_token(&station.module, &long, &secret(SO_PIN), &secret(PIN));
    assert_eq!(refused.err(), Some(KeystoreError::LabelLength { max: 32 }));
}

#[test]
fn what_is_missing_is_named_with_a_hint() {
    let station = Station::with_keys();
    let open = |config| Keystore::open(config).unwrap_err();
    let no_key = open(station.config(&["train", "trian"]));
    assert_eq!(no_key, KeystoreError::KeyNotFound { label: "trian".to_owned() });
    let no_token = open(KeystoreConfig { token: TokenSelector::label("statoin"), ..station.config(&[]) });
    assert_eq!(no_token, KeystoreError::TokenNotFound { label: "statoin".to_owned(), seen: vec![TOKEN.to_owned()] });
    let serial = TokenSelector { label: TOKEN.to_owned(), serial: Some("0".to_owned()) };
    let other_serial = open(KeystoreConfig { token: serial, ..station.config(&[]) });
    let no_module = open(KeystoreConfig { module: "/nonexistent.so".into(), ..station.config(&[]) });
    let not_a_module = open(KeystoreConfig { module: "/bin/true".into(), ..station.config(&[]) });
    for error in [no_key, no_token, other_serial, no_module, not_a_module] {
        assert!(error.hint().is_some() && !error.is_retryable(), "{error}");
    }
    let twice = open(station.config(&["train", "train"]));
    assert!(matches!(twice, KeystoreError::KeyUnusable { .. }));
}

#[test]
fn two_keys_with_one_label_are_ambiguous() {
    let station = Station::with_keys();
    let made = std::process::Command::new("pkcs11-tool")
        .args(["--module", station.module.to_str().unwrap(), "--token-label", TOKEN, "--login", "--pin", PIN])
        .args(["--keypairgen", "--key-type", "rsa:2048", "--label", "train", "--id", "77"])
        .output()
        .unwrap();
    assert!(made.status.success());
    let error = Keystore::open(station.config(&["train"])).unwrap_err();
    assert_eq!(error, KeystoreError::KeyAmbiguous { label: "train".to_owned() });
    assert!(error.hint().is_some());
}
