//! Initialises tokens, and sets and changes their user PIN.

use cryptoki::{
    context::Pkcs11,
    error::Error,
    session::UserType,
    slot::{Slot, TokenInfo},
};
use secrecy::{ExposeSecret, SecretString};

use super::{
    module::ModuleUse,
    rv::{RvClass, classify, code, translate},
    token::{Token, locate, tokens},
    token_info::token_info,
};
use crate::{KeystoreError, ModuleConfig, TokenAccess, TokenSelector, label::check_token};

/// Initialises the first uninitialised token of the module (`C_InitToken`, `C_InitPIN`) and returns its serial number. A label
/// has at most 32 bytes. The lengths of the PINs are compared with the token's limits before anything is written.
///
/// # Errors
/// [`KeystoreError::TokenExists`] when a token has the label, [`KeystoreError::NoFreeSlot`],
/// [`KeystoreError::Label`], [`KeystoreError::PinLength`]; [`KeystoreError::TokenHalfMade`] when the token was initialised
/// but its user PIN could not be set, or when an earlier call left a token of that label so: [`set_user_pin`] completes it.
pub fn init_token(
    module: &ModuleConfig,
    label: &str,
    so_pin: &SecretString,
    user_pin: &SecretString,
) -> Result<String, KeystoreError> {
    check_token(label)?;
    let module = ModuleUse::acquire(module)?;
    let context = module.context();
    let before = tokens(&module)?;
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
    let serial = token_info(&module, slot).map_or_else(|_| String::new(), |info| info.serial_number().to_owned());
    set_pin(context, slot, so_pin, user_pin).map_err(|error| KeystoreError::TokenHalfMade {
        label: label.to_owned(),
        serial: serial.clone(),
        reason: format!("its user PIN could not be set: {error}"),
    })?;
    Ok(serial)
}

/// Sets the user PIN of an initialised token with the SO PIN (`C_InitPIN`), and returns the token's serial number. Completes a
/// half-made token; with `replace` it replaces a user PIN that is locked or lost.
///
/// # Errors
/// Errors of finding the token, [`KeystoreError::UserPinSet`] or with `replace` [`KeystoreError::PinNotSet`],
/// [`KeystoreError::PinLength`], [`KeystoreError::SoPinAtRisk`], [`KeystoreError::PinRefused`].
pub fn set_user_pin(
    module: &ModuleConfig,
    selector: &TokenSelector,
    so_pin: &SecretString,
    user_pin: &SecretString,
    replace: bool,
) -> Result<String, KeystoreError> {
    let module = ModuleUse::acquire(module)?;
    let context = module.context();
    let (slot, info) = locate(&module, selector)?;
    if info.user_pin_initialized() && !replace {
        return Err(KeystoreError::UserPinSet { label: info.label().to_owned() });
    }
    if replace && !info.user_pin_initialized() {
        return Err(KeystoreError::PinNotSet);
    }
    fits(&info, "user", user_pin)?;
    // Too many wrong SO PINs destroy a token permanently: this service never uses the last try.
    if info.so_pin_locked() || info.so_pin_final_try() {
        return Err(KeystoreError::SoPinAtRisk { state: if info.so_pin_locked() { "locked" } else { "final try" } });
    }
    set_pin(context, slot, so_pin, user_pin)?;
    Ok(info.serial_number().to_owned())
}

/// Changes the user PIN with the present one (`C_SetPIN`), and returns the token's serial number. The length of the new PIN is compared
/// with the token's limits before the login, which follows the rule for PINs that the token refused.
///
/// # Errors
/// Errors of finding the token and of the login, [`KeystoreError::PinLength`], [`KeystoreError::PinRefused`].
pub fn change_user_pin(access: &TokenAccess, new: &SecretString) -> Result<String, KeystoreError> {
    let token = Token::find(access)?;
    let info = token.info()?;
    fits(&info, "user", new)?;
    // Read once: the file must not hold the new PIN by the time of the change.
    let present = access.pin.read().map_err(|_| KeystoreError::Unavailable { reason: "the PIN cannot be read at its source" })?;
    let session = token.writable_session().map_err(|error| translate(&error))?;
    token.login(&session)?;
    session.set_pin(&present, new).map_err(|error| about_pin(&error, "user"))?;
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
