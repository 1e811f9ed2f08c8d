//! Keys: generating, listing, what the token lets them do, and their trial at the start.

use openssl::rsa::Rsa;

use super::Outcome;
use crate::{
    admin::{DestroyedKey, OtherKey, contents, destroy_key, generate_key, import_key, key_objects},
    pkcs11::underneath::{self, Permitted},
    tests::support::*,
    *,
};

pub(super) async fn a_key_is_tried_with_every_scheme_when_the_keystore_is_opened(token: TestToken) -> Outcome {
    token.generate("general", KeyUsage::ALL);
    let tried = |label: &str, usage| {
        let keys = vec![KeyConfig::new(label, usage)];
        let keystore = Keystore::open(KeystoreConfig { keys, ..token.config(&[]) }).unwrap();
        let key = keystore.key(label).unwrap();
        assert_eq!(key.capabilities.len(), schemes_of(KeyType::Rsa).count() + OaepScheme::ALL.len());
        (keystore.key_uses(), key.capabilities)
    };
    let (uses, capabilities) = tried("general", KeyUsage::ALL);
    let raw = schemes_of(KeyType::Rsa).filter(|scheme| token.signs(*scheme) == Capability::Raw).count() as u64;
    assert_eq!(uses, KeyUses { signatures: 7 + raw, decryptions: 4 });
    assert!(schemes_of(KeyType::Rsa).all(|scheme| capabilities[scheme.name()] == token.signs(scheme)), "{capabilities:?}");
    assert!(OaepScheme::ALL.iter().all(|scheme| capabilities[scheme.name()] == token.unwraps()), "{capabilities:?}");
    if token.makes_no_rsa_key_that_only_signs() {
        return Outcome::Works;
    }
    // A key that is not meant to decrypt is not asked to.
    token.generate("audit", CHECKPOINTS);
    let (uses, capabilities) = tried("audit", CHECKPOINTS);
    assert_eq!(uses, KeyUses { signatures: 7 + raw, decryptions: 0 });
    assert!(OaepScheme::ALL.iter().all(|scheme| capabilities[scheme.name()] == Capability::No), "{capabilities:?}");
    Outcome::Works
}

pub(super) async fn a_train_key_does_what_trains_need_and_not_v1_5(token: TestToken) -> Outcome {
    let made = token.generate("train", TRAIN);
    let keystore = Keystore::open(token.config(&["train"])).unwrap();
    sign_and_verify(&keystore, "train", SignScheme::PssSha512MaxSalt).await;
    wrap_and_unwrap(&keystore, "train", OaepScheme::Sha512).await;
    let info = keystore.key("train").unwrap();
    assert_eq!((info.bits, info.cka_id.len()), (2048, 16));
    let refused = sign(&keystore, "train", SignScheme::Pkcs1(Hash::Sha256), &[0; 32], None).await;
    if made.mechanisms_restricted {
        assert!(matches!(refused, Err(KeystoreError::MechanismUnsupported { .. })), "{refused:?}");
        return Outcome::Works;
    }
    assert!(refused.is_ok() && matches!(token.kind, TokenKind::Nss | TokenKind::OpenCryptoki), "{refused:?}");
    Outcome::Cannot("it refuses CKA_ALLOWED_MECHANISMS; `key generate` and the start report it")
}

pub(super) async fn a_generated_key_cannot_leave_the_token(token: TestToken) -> Outcome {
    for (label, usage) in [("train", TRAIN), ("general", KeyUsage::ALL)] {
        let info = token.generate(label, usage).description;
        assert!(info.sensitive && info.never_extractable && !info.extractable);
        assert_eq!((&info.label[..], info.bits), (label, 2048));
    }
    Outcome::Works
}

pub(super) async fn a_generated_key_is_said_to_have_been_made_in_the_token(token: TestToken) -> Outcome {
    if token.generate("train", TRAIN).description.generated_in_token {
        return Outcome::Works;
    }
    assert_eq!(token.kind, TokenKind::Nss);
    Outcome::Cannot("CKA_LOCAL is false of every key; the start does not warn of it")
}

pub(super) async fn a_key_of_the_audit_cannot_decrypt_says_the_token(token: TestToken) -> Outcome {
    let token = token.and_keys();
    if token.makes_no_rsa_key_that_only_signs() {
        return Outcome::Cannot("its RSA keys decrypt, or sign nothing; `key generate` names `--type ec-p256`");
    }
    token.generate("audit", CHECKPOINTS);
    assert_eq!(underneath::permitted(&token, "audit"), Permitted { sign: true, decrypt: false, unwrap: false, derive: false });
    assert_eq!(underneath::permitted(&token, "general"), Permitted { sign: true, decrypt: true, unwrap: false, derive: false });
    Outcome::Works
}

pub(super) async fn an_existing_key_is_never_replaced(token: TestToken) -> Outcome {
    let token = token.and_keys();
    let before = contents(&token.access()).unwrap();
    let again = generate_key(&token.access(), "train", KeyUsage::ALL, RSA_2048);
    assert_eq!(again.err(), Some(KeystoreError::LabelExists { label: "train".to_owned() }));
    assert_eq!(contents(&token.access()).unwrap(), before);
    Outcome::Works
}

pub(super) async fn a_destroyed_key_takes_its_public_half_and_no_other_key_with_it(token: TestToken) -> Outcome {
    let token = token.and_keys();
    let access = token.access();
    let no_key = KeystoreError::KeyNotFound { label: "train".to_owned() };
    let (train, general) = (key_objects(&access, "train").unwrap(), key_objects(&access, "general").unwrap());
    assert_eq!((train.public, train.certificates), (1, 0));
    // Another key has the label since it was looked at.
    assert_eq!(destroy_key(&access, "train", general.description.id), Err(no_key.clone()));
    assert_eq!(key_objects(&access, "train").as_ref(), Ok(&train));
    let destroyed = destroy_key(&access, "train", train.description.id).unwrap();
    assert_eq!(destroyed, DestroyedKey { public: 1, certificates: 0, left: 0 });
    assert_eq!(key_objects(&access, "train"), Err(no_key));
    assert_eq!(key_objects(&access, "general"), Ok(general));
    // Nothing is left that takes the label.
    token.generate("train", TRAIN);
    sign_and_verify(&token.open(), "general", SignScheme::PssSha512MaxSalt).await;
    Outcome::Works
}

pub(super) async fn an_imported_key_is_the_files_key_and_serves_as_a_generated_one(token: TestToken) -> Outcome {
    let access = token.access();
    let pem = Rsa::generate(2048).unwrap().private_key_to_pem().unwrap();
    let file = software::FileKey::from_pem(&pem, None).unwrap();
    let made = match import_key(&access, "train", TRAIN, &file) {
        Ok(made) => made.description,
        // A TPM's keys are wrapped by the TPM itself.
        Err(error @ KeystoreError::Fault { .. }) if token.kind == TokenKind::Tpm => {
            assert!(key_objects(&access, "train").is_err(), "{error}");
            return Outcome::Cannot("it creates keys itself only");
        }
        Err(error) => panic!("{error}"),
    };
    assert_eq!(made.spki_der, file.spki_der().unwrap());
    assert!(made.sensitive && !made.extractable);
    if token.kind != TokenKind::Nss {
        assert!(!made.generated_in_token && !made.never_extractable);
    }
    assert!(matches!(import_key(&access, "train", TRAIN, &file), Err(KeystoreError::LabelExists { .. })));
    sign_and_verify(&Keystore::open(token.config(&["train"])).unwrap(), "train", SignScheme::PssSha512MaxSalt).await;
    Outcome::Works
}

pub(super) async fn a_key_of_a_type_that_is_not_used_is_named_and_listed(token: TestToken) -> Outcome {
    let token = token.and_keys();
    if underneath::generate_curve_key(&token, "curve", underneath::P521).is_err() {
        return token.lacks_curves();
    }
    let (label, kind) = ("curve".to_owned(), "EC secp521r1".to_owned());
    let error = Keystore::open(token.config(&["curve"])).unwrap_err();
    assert_eq!(error, KeystoreError::KeyOfOtherType { label: label.clone(), kind: kind.clone() });
    assert!(error.hint().is_some());
    let contents = contents(&token.access()).unwrap();
    assert_eq!(contents.others, [OtherKey { label, kind }]);
    assert_eq!(contents.keys.len(), 2);
    Outcome::Works
}

pub(super) async fn of_two_keys_with_one_label_the_one_that_fits_the_usage_is_used(token: TestToken) -> Outcome {
    let token = token.and_keys();
    for label in ["train", "general"] {
        if underneath::generate_curve_key(&token, label, underneath::P256).is_err() {
            return token.lacks_curves();
        }
    }
    let keystore = Keystore::open(token.config(&["train"])).unwrap();
    assert_eq!(keystore.key("train").unwrap().key_type, KeyType::Rsa);
    sign_and_verify(&keystore, "train", SignScheme::PssSha512MaxSalt).await;
    wrap_and_unwrap(&keystore, "train", OaepScheme::Sha512).await;
    drop(keystore);
    // Both fit.
    let error = Keystore::open(token.config(&["general"])).unwrap_err();
    assert_eq!(error, KeystoreError::KeyAmbiguous { label: "general".to_owned() });
    Outcome::Works
}

pub(super) async fn two_keys_with_one_label_are_ambiguous(token: TestToken) -> Outcome {
    let token = token.and_keys();
    if underneath::import(&token, "train", 7, &Rsa::generate(2048).unwrap()).is_err() {
        return token.takes_no_private_keys();
    }
    let error = Keystore::open(token.config(&["train"])).unwrap_err();
    assert_eq!(error, KeystoreError::KeyAmbiguous { label: "train".to_owned() });
    assert!(error.hint().is_some());
    Outcome::Works
}

pub(super) async fn every_key_is_listed_with_what_the_token_says_of_it(token: TestToken) -> Outcome {
    let token = token.and_keys();
    if underneath::import(&token, "brought", 7, &Rsa::generate(2048).unwrap()).is_err() {
        return token.takes_no_private_keys();
    }
    let listed = contents(&token.access()).unwrap();
    let labels: Vec<_> = listed.keys.iter().map(|key| &key.label[..]).collect();
    assert_eq!(labels, ["brought", "general", "train"]);
    if token.kind == TokenKind::SoftHsm {
        let made_here: Vec<_> = listed.keys.iter().map(|key| key.never_extractable && key.generated_in_token).collect();
        assert_eq!(made_here, [false, true, true]);
    }
    assert!(listed.keys.iter().all(|key| key.bits == 2048 && key.sensitive && !key.extractable));
    // What the keystore finds is what was listed.
    let keystore = token.open();
    for key in keystore.keys() {
        let found = listed.keys.iter().find(|listed| listed.label == key.label).unwrap();
        assert_eq!(KeyDescription { capabilities: key.capabilities.clone(), ..found.clone() }, key);
    }
    Outcome::Works
}
