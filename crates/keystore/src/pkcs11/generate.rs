//! Initialises tokens and generates key pairs.

use std::{collections::BTreeMap, path::Path};

use cryptoki::{
    context::Pkcs11,
    error::Error,
    mechanism::{Mechanism, MechanismType},
    object::{Attribute, ObjectHandle},
    session::{Session, UserType},
    slot::{Slot, TokenInfo},
};
use openssl::rand::rand_bytes;
use secrecy::{ExposeSecret, SecretString};

use super::{
    module::ModuleUse,
    objects,
    rv::{RvClass, classify, code, translate},
    token::{Token, locate, tokens},
};
use crate::{
    KeystoreError, Purpose, TokenAccess, TokenSelector,
    key::GeneratedKey,
    label::{check_key, check_token},
};

pub(crate) fn init_token(
    module: &Path,
    label: &str,
    so_pin: &SecretString,
    user_pin: &SecretString,
) -> Result<String, KeystoreError> {
    check_token(label)?;
    let module = ModuleUse::acquire(module)?;
    let context = module.context();
    let before = tokens(context)?;
    if let Some((_, info)) = before.iter().find(|(_, info)| info.token_initialized() && info.label() == label) {
        let label = label.to_owned();
        return Err(if info.user_pin_initialized() {
            KeystoreError::TokenExists { label }
        } else {
            KeystoreError::TokenHalfMade {
                label,
                serial: info.serial_number().to_owned(),
                reason: "it has no user PIN".to_owned(),
            }
        });
    }
    let (slot, info) = before.into_iter().find(|(_, info)| !info.token_initialized()).ok_or(KeystoreError::NoFreeSlot)?;
    // Before anything is written, because a token cannot be made uninitialised again.
    fits(&info, "SO", so_pin)?;
    fits(&info, "user", user_pin)?;
    context.init_token(slot, so_pin, label).map_err(|error| about_pin(&error, "SO"))?;
    let serial = context.get_token_info(slot).map_or_else(|_| String::new(), |info| info.serial_number().to_owned());
    set_pin(context, slot, so_pin, user_pin).map_err(|error| KeystoreError::TokenHalfMade {
        label: label.to_owned(),
        serial: serial.clone(),
        reason: format!("its user PIN could not be set: {error}"),
    })?;
    Ok(serial)
}

pub(crate) fn set_user_pin(
    module: &Path,
    selector: &TokenSelector,
    so_pin: &SecretString,
    user_pin: &SecretString,
    replace: bool,
) -> Result<String, KeystoreError> {
    let module = ModuleUse::acquire(module)?;
    let context = module.context();
    let (slot, info) = locate(context, selector)?;
    if info.user_pin_initialized() && !replace {
        return Err(KeystoreError::UserPinSet { label: selector.label.clone() });
    }
    fits(&info, "user", user_pin)?;
    // Too many wrong SO PINs destroy a token permanently: this service never uses the last try.
    if info.so_pin_locked() || info.so_pin_final_try() {
        return Err(KeystoreError::SoPinAtRisk { state: if info.so_pin_locked() { "locked" } else { "final try" } });
    }
    set_pin(context, slot, so_pin, user_pin)?;
    Ok(info.serial_number().to_owned())
}

fn set_pin(context: &Pkcs11, slot: Slot, so_pin: &SecretString, user_pin: &SecretString) -> Result<(), KeystoreError> {
    let session = context.open_rw_session(slot).map_err(|error| translate(&error))?;
    session.login(UserType::So, Some(so_pin)).map_err(|error| about_pin(&error, "SO"))?;
    let set = session.init_pin(user_pin).map_err(|error| about_pin(&error, "user"));
    // Closing the session also ends the login.
    drop(session);
    set
}

/// Converts an error of a call with a PIN; `whose` names the PIN.
fn about_pin(error: &Error, whose: &'static str) -> KeystoreError {
    match (classify(error), error) {
        (RvClass::Pin, Error::Pkcs11(value, _)) => KeystoreError::PinRefused { whose, code: code(value) },
        _ => translate(error),
    }
}

/// Checks that a PIN has a length that the token permits (`CK_TOKEN_INFO`).
fn fits(info: &TokenInfo, whose: &'static str, pin: &SecretString) -> Result<(), KeystoreError> {
    let (min, max, length) = (info.min_pin_length(), info.max_pin_length(), pin.expose_secret().len());
    // A token that reports no maximum has none that could be checked.
    let fits = length >= min.max(1) && (max == 0 || max < min || length <= max);
    if fits { Ok(()) } else { Err(KeystoreError::PinLength { whose, min, max }) }
}

pub(crate) fn generate_key(
    access: &TokenAccess,
    label: &str,
    purpose: Purpose,
    bits: u32,
) -> Result<GeneratedKey, KeystoreError> {
    check_key(label)?;
    if ![2048, 3072, 4096].contains(&bits) {
        return Err(KeystoreError::KeySize { bits });
    }
    let token = Token::find(access)?;
    let session = token.writable_session().map_err(|error| translate(&error))?;
    token.login(&session)?;
    if objects::label_is_taken(&session, label).map_err(|error| translate(&error))? {
        return Err(KeystoreError::LabelExists { label: label.to_owned() });
    }
    let mut id = [0; 16];
    rand_bytes(&mut id).map_err(|_| KeystoreError::Fault { operation: "random bytes".to_owned(), code: "OpenSSL".to_owned() })?;

    let (handle, mechanisms_restricted) = match generate(&session, label, &id, bits, (purpose, true)) {
        Ok(handle) => (handle, true),
        // Tokens that do not support the attribute return one of many values; a real fault occurs again without it.
        Err(error) if matches!(classify(&error), RvClass::Other | RvClass::Refused) => {
            // The session may still be in the failed call: continue in another one (this one still holds the login).
            let fresh = token.writable_session().map_err(|error| translate(&error))?;
            let handle = generate(&fresh, label, &id, bits, (purpose, false)).map_err(|error| translate(&error))?;
            (handle, false)
        }
        Err(error) => return Err(translate(&error)),
    };
    let key = objects::describe(&session, handle).map_err(|error| translate(&error))?.ok_or_else(|| {
        KeystoreError::KeyUnusable { label: label.to_owned(), reason: "the token does not show its public half" }
    })?;
    Ok(GeneratedKey { info: key.info(purpose, BTreeMap::new()), mechanisms_restricted })
}

/// Generates a key pair. The attributes restrict its use, whether the token supports `CKA_ALLOWED_MECHANISMS` (`restrict`) or not.
fn generate(
    session: &Session,
    label: &str,
    id: &[u8],
    bits: u32,
    (purpose, restrict): (Purpose, bool),
) -> Result<ObjectHandle, Error> {
    let common = [Attribute::Token(true), Attribute::Label(label.as_bytes().to_vec()), Attribute::Id(id.to_vec())];
    let mut public = common.to_vec();
    public.extend([
        Attribute::Private(false),
        Attribute::ModulusBits(u64::from(bits).into()),
        Attribute::PublicExponent(vec![1, 0, 1]),
        Attribute::Verify(true),
        Attribute::Encrypt(true),
        Attribute::Wrap(false),
    ]);
    let mut private = common.to_vec();
    private.extend(private_half(purpose, restrict));
    let (_, handle) = session.generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, &private)?;
    Ok(handle)
}

fn private_half(purpose: Purpose, restrict: bool) -> Vec<Attribute> {
    let mut private = vec![
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        Attribute::Decrypt(purpose != Purpose::Audit),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ];
    if restrict {
        private.push(Attribute::AllowedMechanisms(mechanisms(purpose)));
    }
    private
}

/// Returns the mechanisms of a purpose. Raw RSA is among them, because without it a token that lacks OAEP with SHA-512 could not open a
/// train. With the PIN it is a signing oracle, which is why its output stays in this module.
fn mechanisms(purpose: Purpose) -> Vec<MechanismType> {
    if purpose == Purpose::Audit {
        return vec![MechanismType::RSA_PKCS_PSS, MechanismType::SHA256_RSA_PKCS_PSS];
    }
    let mut allowed = vec![
        MechanismType::RSA_PKCS_PSS,
        MechanismType::SHA512_RSA_PKCS_PSS,
        MechanismType::RSA_PKCS_OAEP,
        MechanismType::RSA_X_509,
    ];
    if purpose == Purpose::General {
        allowed.extend([MechanismType::RSA_PKCS, MechanismType::SHA256_RSA_PKCS_PSS, MechanismType::SHA384_RSA_PKCS_PSS]);
    }
    allowed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_the_audit_never_decrypts_whether_the_token_restricts_mechanisms_or_not() {
        for restrict in [true, false] {
            let decrypts = |purpose| {
                private_half(purpose, restrict).iter().find_map(|attribute| match attribute {
                    Attribute::Decrypt(yes) => Some(*yes),
                    _ => None,
                })
            };
            assert_eq!(decrypts(Purpose::Audit), Some(false));
            assert_eq!((decrypts(Purpose::Train), decrypts(Purpose::General)), (Some(true), Some(true)));
        }
    }
}
