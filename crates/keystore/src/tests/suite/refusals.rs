//! Wrapped keys that cannot be unwrapped, and schemes that a key cannot do.

use super::Outcome;
use crate::{pkcs11::underneath, tests::support::*, verify::wrap, *};

pub(super) async fn everything_wrong_with_a_wrapped_key_looks_the_same(token: TestToken) -> Outcome {
    let token = token.and_keys();
    let keystore = token.open();
    for scheme in OaepScheme::ALL {
        let other_scheme = if scheme == OaepScheme::Sha512 { OaepScheme::Sha256 } else { OaepScheme::Sha512 };
        let wrapped = wrap(&public(&keystore, "general"), scheme, &[7; 32]).unwrap();
        let flipped: Vec<u8> = wrapped.iter().enumerate().map(|(i, byte)| if i == 100 { byte ^ 1 } else { *byte }).collect();
        let other_hash = wrap(&public(&keystore, "general"), other_scheme, &[7; 32]).unwrap();
        let other_key = wrap(&public(&keystore, "train"), scheme, &[7; 32]).unwrap();
        let longer = [wrapped.clone(), vec![0]].concat();
        for bad in [&flipped[..], &other_hash, &[0; 256], &[0xff; 256], &wrapped[1..], b"", &longer] {
            let refused = unwrap(&keystore, "general", scheme, bad, None).await;
            assert_eq!(refused.err(), Some(KeystoreError::UnwrapFailed), "{} bytes", bad.len());
        }
        // Modulo chance, a ciphertext for another key of the size is noise for this one.
        assert!(unwrap(&keystore, "general", scheme, &other_key, None).await.is_err());
        wrap_and_unwrap(&keystore, "general", scheme).await;
    }
    Outcome::Works
}

pub(super) async fn a_session_after_a_refusal_is_fit_for_use(token: TestToken) -> Outcome {
    let token = token.and_keys();
    let config = KeystoreConfig { sessions: 1, ..token.config(&["train", "general"]) };
    let keystore = Keystore::open(config).unwrap();
    for _ in 0..3 {
        let refused = unwrap(&keystore, "general", OaepScheme::Sha512, &[1; 256], None).await;
        assert_eq!(refused.err(), Some(KeystoreError::UnwrapFailed));
        assert_eq!(uses_of_one_each(&keystore).await, KeyUses { signatures: 1, decryptions: 1 });
    }
    Outcome::Works
}

pub(super) async fn a_session_that_an_error_left_unusable_is_replaced(token: TestToken) -> Outcome {
    let token = token.and_keys();
    let config = KeystoreConfig { sessions: 1, ..token.config(&["train", "general"]) };
    let keystore = Keystore::open(config).unwrap();
    let left = underneath::leave_the_first_session_in_an_operation(&keystore, "general");
    assert_eq!(left.by_an_error, token.kind == TokenKind::Nss, "an error leaves NSS's sessions unusable, not SoftHSM's");
    // The one attempt more that a new session needs; then none.
    assert_eq!(uses_of_one_each(&keystore).await, KeyUses { signatures: 2, decryptions: 1 });
    assert_eq!(uses_of_one_each(&keystore).await, KeyUses { signatures: 1, decryptions: 1 });
    Outcome::Works
}

/// Signs and unwraps once each, and returns how often the token was asked to.
async fn uses_of_one_each(keystore: &Keystore) -> KeyUses {
    let before = keystore.key_uses();
    sign_and_verify(keystore, "general", SignScheme::PssSha512MaxSalt).await;
    wrap_and_unwrap(keystore, "general", OaepScheme::Sha512).await;
    let after = keystore.key_uses();
    KeyUses { signatures: after.signatures - before.signatures, decryptions: after.decryptions - before.decryptions }
}

pub(super) async fn without_raw_unwrapping_no_raw_rsa_is_used(token: TestToken) -> Outcome {
    let token = token.and_keys();
    let config = KeystoreConfig { allow_raw_unwrap: false, ..token.config(&["train"]) };
    let keystore = Keystore::open(config).unwrap();
    let capability = keystore.key("train").unwrap().capabilities["RSA_OAEP_SHA512"];
    let before = keystore.key_uses();
    if capability == Capability::Native {
        assert_eq!(token.unwraps(), Capability::Native);
        wrap_and_unwrap(&keystore, "train", OaepScheme::Sha512).await;
        return Outcome::Works;
    }
    assert_eq!((capability, token.unwraps()), (Capability::No, Capability::Raw));
    let refused = unwrap(&keystore, "train", OaepScheme::Sha512, &[1; 256], None).await;
    let error = refused.unwrap_err();
    assert!(matches!(error, KeystoreError::MechanismUnsupported { .. }) && error.hint().is_some());
    assert_eq!(keystore.key_uses(), before, "the scheme is refused, not weakened");
    Outcome::Cannot("it has no OAEP with SHA-512")
}

pub(super) async fn without_raw_signing_no_raw_rsa_is_used(token: TestToken) -> Outcome {
    let token = token.and_keys();
    let config = KeystoreConfig { allow_raw_sign: false, ..token.config(&["train"]) };
    let keystore = Keystore::open(config).unwrap();
    let scheme = SignScheme::PssSha512MaxSalt;
    let capability = keystore.key("train").unwrap().capabilities[scheme.name()];
    if capability == Capability::Native {
        assert_eq!(token.signs(scheme), Capability::Native);
        sign_and_verify(&keystore, "train", scheme).await;
        return Outcome::Works;
    }
    assert_eq!((capability, token.signs(scheme)), (Capability::No, Capability::Raw));
    let before = keystore.key_uses();
    let error = sign(&keystore, "train", scheme, &[1; 64], None).await.unwrap_err();
    assert!(matches!(error, KeystoreError::MechanismUnsupported { .. }));
    assert!(error.hint().is_some_and(|hint| hint.contains("allow_raw_sign")));
    assert_eq!(keystore.key_uses(), before, "the scheme is refused, not weakened");
    Outcome::Cannot("its PSS has no longest salt")
}
