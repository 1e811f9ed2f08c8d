//! Keys on elliptic curves: generation, self-test, signatures, and what such a key refuses.

use openssl::ecdsa::EcdsaSig;

use super::Outcome;
use crate::{
    admin::{contents, generate_key},
    pkcs11::underneath::{self, Permitted},
    tests::support::*,
    *,
};

pub(super) async fn p_256_keys_sign(token: TestToken) -> Outcome {
    sign(token, NewKey::EcP256, SignScheme::EcdsaP256).await
}

pub(super) async fn p_384_keys_sign(token: TestToken) -> Outcome {
    sign(token, NewKey::EcP384, SignScheme::EcdsaP384).await
}

pub(super) async fn ed25519_keys_sign(token: TestToken) -> Outcome {
    sign(token, NewKey::Ed25519, SignScheme::Ed25519).await
}

async fn sign(token: TestToken, new: NewKey, scheme: SignScheme) -> Outcome {
    let Some(made) = token.generate_of("curve", new) else {
        assert!(token.kind != TokenKind::SoftHsm && (token.kind != TokenKind::Nss || new == NewKey::Ed25519), "{new:?}");
        // Nothing is left of the attempt.
        assert_eq!(contents(&token.access()).unwrap().keys, []);
        return Outcome::Cannot(match new {
            NewKey::Ed25519 => "it has no EdDSA; `key generate` names `--type ec-p256`",
            _ => "it generates no such keys; `key generate` names `--type rsa`",
        });
    };
    let key = made.description;
    assert_eq!((key.key_type, key.bits), (new.key_type(), new.bits()));
    assert!(key.sensitive && key.never_extractable && !key.extractable);
    assert!(made.mechanisms_restricted || token.kind != TokenKind::SoftHsm);
    let only_signs = Permitted { sign: true, decrypt: false, unwrap: false, derive: false };
    assert_eq!(underneath::permitted(&token, "curve"), only_signs);
    assert_eq!(contents(&token.access()).unwrap().keys, [key]);

    let keystore = Keystore::open(token.config(&["curve"])).unwrap();
    let tried = KeyUses { signatures: 1, decryptions: 0 };
    assert_eq!(keystore.key_uses(), tried, "a key is tried with the scheme of its type alone");
    let key = keystore.key("curve").unwrap();
    assert_eq!(key.capabilities, [(scheme.name(), Capability::Native)].into());
    for _ in 0..20 {
        sign_and_verify(&keystore, "curve", scheme).await;
    }
    assert_eq!(keystore.key_uses(), KeyUses { signatures: 21, decryptions: 0 });
    let signed = vec![7; scheme.hash().map_or(32 << 10, Hash::digest_len)];
    let signature = keystore.sign(key.id, scheme, &signed, None).await.unwrap();
    match scheme {
        SignScheme::Ed25519 => assert_eq!(signature.len(), 64),
        _ => assert_eq!(EcdsaSig::from_der(&signature).unwrap().to_der().unwrap(), signature),
    }

    // What is for keys of another type is refused by name, and without the token.
    let before = keystore.key_uses();
    for other in SignScheme::ALL.into_iter().filter(|other| *other != scheme) {
        let digest = vec![1; other.hash().map_or(1, Hash::digest_len)];
        let refused = keystore.sign(key.id, other, &digest, None).await.unwrap_err();
        assert_eq!(refused, of_other_type(&key, other.name(), other.key_type()));
        assert!(refused.hint().is_some());
    }
    for other in OaepScheme::ALL {
        let refused = keystore.unwrap(key.id, other, &[1; 256], None).await.unwrap_err();
        assert_eq!(refused, of_other_type(&key, other.name(), KeyType::Rsa));
    }
    assert_eq!(keystore.key_uses(), before);
    Outcome::Works
}

fn of_other_type(key: &KeyDescription, scheme: &'static str, needed: KeyType) -> KeystoreError {
    KeystoreError::SchemeOfOtherType { label: key.label.clone(), scheme, needed, key_type: key.key_type }
}

pub(super) async fn a_curve_key_of_another_tool_signs(token: TestToken) -> Outcome {
    if underneath::generate_curve_key(&token, "curve", underneath::P256).is_err() {
        return token.lacks_curves();
    }
    let keystore = Keystore::open(token.config(&["curve"])).unwrap();
    assert_eq!(keystore.key("curve").unwrap().key_type, KeyType::EcP256);
    sign_and_verify(&keystore, "curve", SignScheme::EcdsaP256).await;
    Outcome::Works
}

pub(super) async fn a_key_without_a_scheme_for_its_usage_is_not_generated(token: TestToken) -> Outcome {
    let unfit = [
        (TRAIN, NewKey::EcP256),
        (TRAIN, NewKey::EcP384),
        (TRAIN, NewKey::Ed25519),
        // Signed notes hash with SHA-256.
        (CHECKPOINTS, NewKey::EcP384),
    ];
    for (usage, new) in unfit {
        let refused = generate_key(&token.access(), "key", usage, new).unwrap_err();
        assert_eq!(refused, KeystoreError::KeyTypeUnfit { key_type: new.key_type() });
        assert!(refused.hint().is_some());
    }
    assert_eq!(contents(&token.access()).unwrap().keys, []);
    Outcome::Works
}
