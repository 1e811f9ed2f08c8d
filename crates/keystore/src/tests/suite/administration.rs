//! Tokens and their PINs.

#![expect(unsafe_code, reason = "changes the environment while no other thread runs")]

use stationmaster_pkcs11_fault::{FaultModule, VARIABLE};

use super::Outcome;
use crate::{
    admin::{change_user_pin, contents, init_token, set_user_pin},
    pin_latch,
    pkcs11::underneath::{self, PinState},
    tests::support::*,
    *,
};

pub(super) async fn a_token_is_initialised(token: TestToken) -> Outcome {
    let made = init_token(&token.module_config(), "second", &secret(SO_PIN), &secret(PIN));
    if token.kind == TokenKind::Nss {
        let refused = made.unwrap_err();
        assert!(refused == KeystoreError::NoFreeSlot && refused.hint().is_some(), "{refused:?}");
        return Outcome::Cannot("its slots are fixed; certutil makes a database and sets its PIN");
    }
    if token.kind == TokenKind::OpenCryptoki {
        let refused = made.unwrap_err();
        assert!(refused == KeystoreError::NoFreeSlot && refused.hint().is_some(), "{refused:?}");
        return Outcome::Cannot("its slots are those of its configuration; pkcsconf -I makes a token");
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
    let set = |replace| set_user_pin(&token.module_config(), &selector, &secret(SO_PIN), &secret("pin-4343"), replace);
    assert_eq!(set(false).err(), Some(KeystoreError::UserPinSet { label: token.label().to_owned() }));
    let replaced = set(true);
    if token.kind == TokenKind::Nss {
        assert!(matches!(&replaced, Err(KeystoreError::Fault { operation, .. }) if operation == "C_Login"), "{replaced:?}");
        // Nothing has changed.
        assert_eq!(contents(&token.access()).unwrap().keys, []);
        return Outcome::Cannot("it has no SO PIN once the user PIN is set; certutil changes the user PIN");
    }
    replaced.unwrap();
    assert_eq!(contents(&TokenAccess { pin: kept("pin-4343"), ..token.access() }).unwrap().keys, []);
    Outcome::Works
}

pub(super) async fn a_user_pin_is_changed_with_itself(token: TestToken) -> Outcome {
    let latch = token.dir.path().join("latch");
    let present = TokenAccess { pin_latch: Some(latch.clone()), ..token.access() };
    let wrong = TokenAccess { pin: kept("wrong-pin"), ..present.clone() };
    let new = secret("pin-4343");
    assert!(matches!(change_user_pin(&wrong, &new), Err(KeystoreError::PinRejected { .. })));
    assert!(matches!(change_user_pin(&wrong, &new), Err(KeystoreError::PinLatched { .. })));
    let too_long = secret(&"9".repeat(4000));
    let refused = change_user_pin(&present, &too_long).unwrap_err();
    assert!(matches!(refused, KeystoreError::PinLength { .. } | KeystoreError::PinRefused { .. }), "{refused:?}");
    assert_eq!(contents(&present).unwrap().keys, [], "the present PIN no longer works");

    assert_eq!(change_user_pin(&present, &new).unwrap(), token.serial);
    assert!(matches!(contents(&present), Err(KeystoreError::PinRejected { .. })), "the former PIN still works");
    assert_eq!(contents(&TokenAccess { pin: kept("pin-4343"), ..present }).unwrap().keys, []);
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
    assert!(matches!(refusal(&wrong), Some(KeystoreError::PinLatched { .. })), "only an administrator permits it again");
    Outcome::Works
}

pub(super) async fn a_token_that_warns_of_wrong_pins_gets_no_login(token: TestToken) -> Outcome {
    let fault = FaultModule::create(&token.dir.path().join("fault"), &token.module).unwrap();
    // SAFETY: see `TestToken::softhsm`.
    unsafe { std::env::set_var(VARIABLE, fault.directory()) };
    let token = token.through(FaultModule::library().unwrap());
    let logins = || fault.journal().unwrap().calls("C_Login");
    let latch = token.dir.path().join("latch");
    let (mut tried, mut counts) = (0, Vec::new());
    for (state, named, kept_latch) in [
        (PinState::CountLow, "count low", None),
        (PinState::FinalTry, "final try", Some(latch.clone())),
        (PinState::Locked, "locked", Some(latch)),
    ] {
        let (reached, more) = underneath::wrong_pins(&token, 20);
        tried += more;
        counts.push(tried);
        if reached != state {
            if token.kind == TokenKind::Tpm {
                // By now every PIN is refused, and so would be that of the SO.
                let refused = contents(&token.access()).unwrap_err();
                assert_eq!(refused, KeystoreError::PinAtRisk { state: "locked" });
                assert!(refused.hint().is_some_and(|hint| hint.contains("tpm2_dictionarylockout --clear-lockout")));
            }
            return token.kind.lockout(reached);
        }
        let before = logins();
        assert!(before > 0);
        for pin in [PIN, "wrong-3"] {
            let access = TokenAccess { pin: kept(pin), pin_latch: kept_latch.clone(), ..token.access() };
            let refused = [contents(&access).err(), Keystore::open(token.config_with(access, &[])).err()];
            assert!(refused.iter().all(|error| *error == Some(KeystoreError::PinAtRisk { state: named })), "{refused:?}");
            assert!(refused[0].as_ref().is_some_and(|error| error.hint().is_some()));
        }
        assert_eq!(logins(), before, "the token was not asked");
    }
    assert_eq!(Some(&counts[..]), token.kind.warns_after(), "as the page on tokens says");
    // What the hint of a locked PIN says.
    let selector = TokenSelector::label(token.label());
    set_user_pin(&token.module_config(), &selector, &secret(SO_PIN), &secret(PIN), true).unwrap();
    assert_eq!(contents(&token.access()).unwrap().keys, []);
    Outcome::Works
}
