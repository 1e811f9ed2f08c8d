//! What happens to a token below a keystore: calls of the module that other code of the process, or another program, makes.

#![expect(unsafe_code, reason = "passes the module a text of its own format")]

use std::{ffi::CString, ptr::NonNull};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::{
        Mechanism, MechanismType,
        rsa::{PkcsMgfType, PkcsPssParams},
    },
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
};
use openssl::{bn::BigNumRef, pkey::Private, rsa::Rsa};

use super::super::{
    module::{ModuleUse, lock},
    objects,
    session_slot::SessionSlot,
    token::{Token, locate},
};
use crate::{tests::support::*, *};

/// Logs the process out.
pub(crate) fn log_out(keystore: &Keystore) {
    lock(&keystore.pool().state().login_session).as_ref().unwrap().logout().unwrap();
}

/// Finalises the module.
pub(crate) fn finalise(token: &TestToken) {
    Pkcs11::new(&token.module).unwrap().finalize().unwrap();
}

/// Finalises the module and initialises it again: all sessions and the login are lost.
pub(crate) fn initialise_anew(token: &TestToken) {
    finalise(token);
    let text = token.module_config().init_args.map(|text| CString::new(text).unwrap());
    let arguments = match &text {
        None => CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK),
        // SAFETY: a C string, as the module takes it; it is alive during the call, and NSS copies what it keeps.
        Some(text) => unsafe {
            CInitializeArgs::new_with_reserved(CInitializeFlags::OS_LOCKING_OK, NonNull::from(text.as_c_str()).cast())
        },
    };
    Pkcs11::new(&token.module).unwrap().initialize(arguments).unwrap();
}

/// Deletes the objects with this label.
pub(crate) fn delete(token: &TestToken, label: &str) -> Result<(), Error> {
    in_session(token, |session| {
        let found = session.find_objects(&[Attribute::Label(label.as_bytes().to_vec())]).unwrap();
        assert!(!found.is_empty(), "nothing is labelled {label}");
        found.into_iter().try_for_each(|object| session.destroy_object(object))
    })
}

/// Stores a private key that was made outside.
pub(crate) fn import(token: &TestToken, label: &str, id: u8, key: &Rsa<Private>) -> Result<ObjectHandle, Error> {
    let number = |number: &BigNumRef| number.to_vec();
    let part = |number: Option<&BigNumRef>| number.unwrap().to_vec();
    let template = [
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::KeyType(KeyType::RSA),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        Attribute::Decrypt(true),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Id(vec![id]),
        Attribute::Modulus(number(key.n())),
        Attribute::PublicExponent(number(key.e())),
        Attribute::PrivateExponent(number(key.d())),
        Attribute::Prime1(part(key.p())),
        Attribute::Prime2(part(key.q())),
        Attribute::Exponent1(part(key.dmp1())),
        Attribute::Exponent2(part(key.dmq1())),
        Attribute::Coefficient(part(key.iqmp())),
    ];
    in_session(token, |session| session.create_object(&template))
}

/// The object identifier of P-256, in DER.
pub(crate) const P256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
/// The object identifier of P-521, in DER.
pub(crate) const P521: &[u8] = b"\x06\x05\x2b\x81\x04\x00\x23";

/// Generates a key on a curve as another tool would, without restrictions.
pub(crate) fn generate_curve_key(token: &TestToken, label: &str, parameters: &[u8]) -> Result<(), Error> {
    let label = Attribute::Label(label.as_bytes().to_vec());
    let common = [Attribute::Token(true), label, Attribute::Id(vec![0x77])];
    let public = [&common[..], &[Attribute::EcParams(parameters.to_vec())]].concat();
    let private = [&common[..], &[Attribute::Private(true), Attribute::Sensitive(true), Attribute::Sign(true)]].concat();
    in_session(token, |session| session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).map(drop))
}

/// What the token lets a private key do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Permitted {
    pub(crate) sign: bool,
    pub(crate) decrypt: bool,
    pub(crate) unwrap: bool,
    pub(crate) derive: bool,
}

/// Returns what the token lets the private key of this label do, from its attributes.
pub(crate) fn permitted(token: &TestToken, label: &str) -> Permitted {
    in_session(token, |session| {
        let [key] = objects::private_keys(session, Some(label), None).unwrap()[..] else { panic!("not one key") };
        let wanted = [AttributeType::Sign, AttributeType::Decrypt, AttributeType::Unwrap, AttributeType::Derive];
        let found = session.get_attributes(key.handle, &wanted).unwrap();
        let has = |attribute| found.contains(&attribute);
        Permitted {
            sign: has(Attribute::Sign(true)),
            decrypt: has(Attribute::Decrypt(true)),
            unwrap: has(Attribute::Unwrap(true)),
            derive: has(Attribute::Derive(true)),
        }
    })
}

/// What a token's flags say about its user PIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PinState {
    Good,
    CountLow,
    FinalTry,
    Locked,
}

/// Tries wrong PINs, as other software would, until the token's flags say something else than before or `most` were tried. Returns how many
/// were.
pub(crate) fn wrong_pins(token: &TestToken, most: usize) -> (PinState, usize) {
    let module = ModuleUse::acquire(&token.module_config()).unwrap();
    let state = || {
        let (slot, info) = locate(&module, &TokenSelector::label(token.label())).unwrap();
        let flags = [
            (info.user_pin_locked(), PinState::Locked),
            (info.user_pin_final_try(), PinState::FinalTry),
            (info.user_pin_count_low(), PinState::CountLow),
        ];
        (slot, flags.into_iter().find_map(|(set, state)| set.then_some(state)).unwrap_or(PinState::Good))
    };
    let (slot, before) = state();
    for tried in 1..=most {
        let session = module.context().open_ro_session(slot).unwrap();
        let refused = session.login(UserType::User, Some(&secret("not-it"))).unwrap_err();
        assert!(matches!(refused, Error::Pkcs11(..)), "{refused:?}");
        let (_, now) = state();
        if now != before {
            return (now, tried);
        }
    }
    (before, most)
}

/// How a session came to be in an operation.
pub(crate) struct LeftActive {
    /// Whether an error was sufficient.
    pub(crate) by_an_error: bool,
}

/// Makes the session of the first worker refuse every signature: an operation has begun in it and does not end.
pub(crate) fn leave_the_first_session_in_an_operation(keystore: &Keystore, label: &str) -> LeftActive {
    let pool = keystore.pool();
    let state = pool.state();
    let mut slot = SessionSlot::new(state.token.session().unwrap());
    let key = slot.handle(&state.keys.known(label).unwrap().unwrap()).unwrap().unwrap();
    // One byte longer than a salt can be.
    let (hash_alg, mgf) = (MechanismType::SHA512, PkcsMgfType::MGF1_SHA512);
    let too_long = Mechanism::RsaPkcsPss(PkcsPssParams { hash_alg, mgf, s_len: 191.into() });
    slot.session.sign(&too_long, key, &[1; 64]).unwrap_err();
    let left = match slot.session.sign_init(&Mechanism::RsaPkcs, key) {
        Ok(()) => LeftActive { by_an_error: false },
        Err(Error::Pkcs11(RvError::OperationActive, _)) => LeftActive { by_an_error: true },
        Err(error) => panic!("{error:?}"),
    };
    *lock(&state.workers()[0].session) = Some(slot);
    left
}

fn in_session<T>(token: &TestToken, action: impl FnOnce(&Session) -> T) -> T {
    let token = Token::find(&token.access()).unwrap();
    let session = token.writable_session().unwrap();
    assert!(token.login(&session).is_ok(), "no login");
    action(&session)
}
