//! Tests of creating tokens and keys on SoftHSM, and of the errors when they are missing.

use std::path::PathBuf;

use super::support::*;
use crate::{admin::*, label::LabelFault, *};

#[test]
fn sizes_and_labels_out_of_range_are_refused() {
    let station = TestToken::new();
    let access = station.access();
    for bits in [0, 1024, 2047, 8192] {
        let refused = generate_key(&access, "key", KeyUsage::ALL, NewKey::Rsa { bits });
        assert_eq!(refused.err(), Some(KeystoreError::KeySize { bits }));
    }
    let (long, longest) = ("x".repeat(33), "x".repeat(256));
    let faults = [
        ("", LabelFault::Length { max: 32 }, true),
        (&long, LabelFault::Length { max: 32 }, false),
        ("pht ", LabelFault::Blank, true),
        (" pht", LabelFault::Blank, true),
        ("*", LabelFault::Wildcard, true),
        ("p\u{1b}[31mht", LabelFault::Control, true),
        ("pht\n", LabelFault::Control, true),
    ];
    for (label, fault, of_keys_too) in faults {
        let of = |fault| Some(KeystoreError::Label { label: label.to_owned(), fault });
        assert_eq!(init_token(&station.module_config(), label, &secret(SO_PIN), &secret(PIN)).err(), of(fault), "{label:?}");
        let fault = if label.is_empty() { LabelFault::Length { max: 255 } } else { fault };
        assert!(!of_keys_too || generate_key(&access, label, KeyUsage::ALL, RSA_2048).err() == of(fault), "{label:?}");
    }
    let refused = generate_key(&access, &longest, KeyUsage::ALL, RSA_2048);
    assert_eq!(refused.err(), Some(KeystoreError::Label { label: longest, fault: LabelFault::Length { max: 255 } }));
}

#[test]
fn what_is_missing_is_named_with_a_hint() {
    let station = TestToken::with_keys();
    let open = |config| Keystore::open(config).unwrap_err();
    let open_token = |access| open(station.config_with(access, &[]));
    let no_key = open(station.config(&["train", "trian"]));
    assert_eq!(no_key, KeystoreError::KeyNotFound { label: "trian".to_owned() });
    let no_token = open_token(TokenAccess { token: TokenSelector::label("statoin"), ..station.access() });
    assert_eq!(
        no_token,
        KeystoreError::TokenNotFound { wanted: Box::new(TokenSelector::label("statoin")), seen: vec![TOKEN.to_owned()] }
    );
    let serial = TokenSelector { serial: Some("0".to_owned()), ..TokenSelector::label(TOKEN) };
    let other_serial = open_token(TokenAccess { token: serial, ..station.access() });
    let (label, wanted, seen) = (TOKEN.to_owned(), "0".to_owned(), vec![station.serial.clone()]);
    assert_eq!(other_serial, KeystoreError::TokenSerial { label, wanted, seen });
    let no_module = open_token(TokenAccess { module: PathBuf::from("/nonexistent.so").into(), ..station.access() });
    let not_a_module = open_token(TokenAccess { module: PathBuf::from("/bin/true").into(), ..station.access() });
    for error in [no_key, no_token, other_serial, no_module, not_a_module] {
        assert!(error.hint().is_some(), "{error}");
    }
    let twice = open(station.config(&["train", "train"]));
    assert!(matches!(twice, KeystoreError::KeyUnusable { .. }));
}

#[test]
fn a_pin_of_a_length_that_the_token_does_not_take_changes_nothing() {
    let station = TestToken::new();
    let long = "9".repeat(256);
    for (so, user, whose) in [("12", PIN, "SO"), (SO_PIN, "12", "user"), (SO_PIN, &long, "user")] {
        let refused = init_token(&station.module_config(), "second", &secret(so), &secret(user)).unwrap_err();
        assert_eq!(refused, KeystoreError::PinLength { whose, min: 4, max: 255 });
    }
    let slots = std::process::Command::new("softhsm2-util").arg("--show-slots").output().unwrap();
    let shown = String::from_utf8_lossy(&slots.stdout).into_owned();
    assert!(shown.contains(TOKEN) && !shown.contains("second"), "{shown}");
    init_token(&station.module_config(), "second", &secret(SO_PIN), &secret(PIN)).expect("the label is free");
}

#[test]
fn a_token_that_is_half_made_is_said_to_be_and_is_finished() {
    let station = TestToken::new();
    // As a token is that was initialised and whose user PIN was not set.
    let made = std::process::Command::new("pkcs11-tool")
        .args(["--module", station.module.to_str().unwrap(), "--init-token", "--slot-index", "1", "--label", "half"])
        .args(["--so-pin", SO_PIN])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let again = init_token(&station.module_config(), "half", &secret(SO_PIN), &secret(PIN)).unwrap_err();
    assert!(matches!(&again, KeystoreError::TokenHalfMade { label, .. } if label == "half"), "{again:?}");
    let hint = again.hint().unwrap();
    // The token may have been named either way, and the options exclude each other.
    assert!(hint.contains("pin set") && hint.contains("--config, or --label") && hint.contains("--serial"), "{hint}");

    let half = TokenSelector::label("half");
    let set = |so: &str, user: &str, replace| set_user_pin(&station.module_config(), &half, &secret(so), &secret(user), replace);
    let wrong = set("not the SO PIN", PIN, false).unwrap_err();
    assert!(matches!(wrong, KeystoreError::PinRefused { whose: "SO", .. }), "{wrong:?}");
    assert!(
        wrong.hint().is_some_and(|hint| hint.contains("another than `token init` was given")),
        "{wrong:?}: {:?}",
        wrong.hint()
    );
    assert_eq!(set(SO_PIN, "12", false), Err(KeystoreError::PinLength { whose: "user", min: 4, max: 255 }));
    set(SO_PIN, PIN, false).unwrap();
    assert_eq!(set(SO_PIN, "another", false), Err(KeystoreError::UserPinSet { label: "half".to_owned() }));
    let access = |pin: &str| TokenAccess { token: half.clone(), pin: kept(pin), ..station.access() };
    generate_key(&access(PIN), "key", KeyUsage::ALL, RSA_2048).unwrap();
    set(SO_PIN, "another", true).unwrap();
    assert_eq!(contents(&access("another")).unwrap().keys.len(), 1);
}

#[test]
fn what_keeps_softhsm_from_working_is_found_in_its_files() {
    let station = TestToken::with_keys();
    let hint = || {
        let error = Keystore::open(station.config(&["train"])).unwrap_err();
        (error.to_string(), error.hint().unwrap())
    };
    let conf = station.dir.path().join("softhsm2.conf");
    let text = std::fs::read_to_string(&conf).unwrap();
    let tokens = station.dir.path().join("tokens").display().to_string();

    std::fs::remove_file(&conf).unwrap();
    let (message, absent) = hint();
    assert!(message.contains("C_Initialize") && message.contains("CKR_"), "{message}");
    assert!(absent.contains(conf.to_str().unwrap()) && absent.contains("SOFTHSM2_CONF"), "{absent}");
    std::fs::write(&conf, text.replace("backend = file", "backend = db")).unwrap();
    let backend = hint().1;
    assert!(backend.contains("objectstore.backend = file"), "{backend}");
    std::fs::write(&conf, text.replace(&tokens, "/no/such/directory")).unwrap();
    let directory = hint().1;
    assert!(directory.contains("directories.tokendir") && directory.contains("/no/such/directory"), "{directory}");
    std::fs::write(&conf, text).unwrap();
    Keystore::open(station.config(&["train"])).expect("it works as before");
}

#[test]
fn a_destroyed_key_takes_its_own_certificates_and_not_those_of_other_keys() {
    use openssl::{asn1::Asn1Time, hash::MessageDigest, pkey::PKey, rsa::Rsa, x509::X509};
    let station = TestToken::with_keys();
    let objects = key_objects(&station.access(), "train").unwrap();
    let authority = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let own = PKey::public_key_from_der(&objects.description.spki_der).unwrap();
    let other = PKey::public_key_from_der(&authority.public_key_to_der().unwrap()).unwrap();
    for (name, of) in [("own", own), ("other", other)] {
        let mut certificate = X509::builder().unwrap();
        certificate.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        certificate.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
        certificate.set_pubkey(&of).unwrap();
        certificate.sign(&authority, MessageDigest::sha256()).unwrap();
        let file = station.dir.path().join(name);
        std::fs::write(&file, certificate.build().to_der().unwrap()).unwrap();
        let (file, id) = (file.display().to_string(), const_hex::encode(&objects.description.cka_id));
        station.tool(&["--write-object", &file, "--type", "cert", "--label", name, "--id", &id]);
    }
    assert_eq!(key_objects(&station.access(), "train").unwrap().certificates, 1);
    let destroyed = destroy_key(&station.access(), "train", objects.description.id).unwrap();
    assert_eq!(destroyed, DestroyedKey { public: 1, certificates: 1, left: 0 });
    let left = station.tool(&["--list-objects", "--type", "cert"]);
    assert!(left.contains("other") && !left.contains("own"), "{left}");
}
