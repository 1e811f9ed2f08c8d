//! Tokens and their PINs.

use super::Outcome;
use crate::{
    admin::{contents, init_token, set_user_pin},
    pin_latch,
    tests::support::*,
    *,
};

pub(super) async fn a_token_is_initialised(token: TestToken) -> Outcome {
    let made = init_token(&token.module_config(), "second", &secret(SO_PIN), &secret(PIN));
    if token.kind == TokenKind::Nss {
        assert_eq!(made.err(), Some(KeystoreError::NoFreeSlot));
        return Outcome::Cannot("its slots are fixed; certutil makes a database and sets its PIN");
    }
    let serial = made.unwrap();
    let second = TokenSelector { serial: Some(serial), ..TokenSelector::label("second") };
    let access = TokenAccess { token: second, ..token.access() };
    assert_eq!(contents(&access).unwrap().keys, []);
    let again = init_token(&token.module_config(), "second", &secret(SO_PIN), &secret(PIN));
    assert_eq!(again.err(), Some(KeystoreError::TokenExists { label: "second".to_owned() }));
    Outcome::Works
}

pub(super) async fn a_user_pin_is_replaced_with_the_so_pin(token: TestToken) -> Outcome {
    let selector = TokenSelector::label(token.label());
    let set = |replace| set_user_pin(&token.module_config(), &selector, &secret(SO_PIN), &secret("another-pin-43"), replace);
    assert_eq!(set(false).err(), Some(KeystoreError::UserPinSet { label: token.label().to_owned() }));
    let replaced = set(true);
    if token.kind == TokenKind::Nss {
        assert!(matches!(&replaced, Err(KeystoreError::Fault { operation, .. }) if operation == "C_Login"), "{replaced:?}");
        // Nothing has changed.
        assert_eq!(contents(&token.access()).unwrap().keys, []);
        return Outcome::Cannot("it has no SO PIN once the user PIN is set; certutil changes the user PIN");
    }
    replaced.unwrap();
    assert_eq!(contents(&TokenAccess { pin: kept("another-pin-43"), ..token.access() }).unwrap().keys, []);
    Outcome::Works
}

pub(super) async fn a_wrong_pin_is_tried_once_and_a_corrected_one_works(token: TestToken) -> Outcome {
    let latch = token.dir.path().join("latch");
    let good = TokenAccess { pin_latch: Some(latch.clone()), ..token.access() };
    let wrong = TokenAccess { pin: kept("wrong-pin"), ..good.clone() };
    let refusal = |access: &TokenAccess| contents(access).err();
    assert!(matches!(refusal(&wrong), Some(KeystoreError::PinRejected { .. })), "{:?}", refusal(&wrong));
    assert!(matches!(refusal(&wrong), Some(KeystoreError::PinLatched { .. })), "{:?}", refusal(&wrong));
    pin_latch::forget_this_process(&token.serial);
    assert!(matches!(refusal(&wrong), Some(KeystoreError::PinLatched { .. })), "the file outlives the process");
    assert_eq!(refusal(&good), None);
    assert!(!latch.exists());
    Outcome::Works
}
