//! Finds the token by label and serial number, never by slot number, and logs in to it.

use std::sync::Mutex;

use cryptoki::{
    error::{Error, RvError},
    session::{Session, SessionState, UserType},
    slot::{Slot, TokenInfo},
};

use secrecy::SecretString;

use super::{
    attempt_error::AttemptError,
    module::{ModuleUse, lock},
    quirks::Quirk,
    rv::{RvClass, classify, translate},
    token_info::token_info,
};
use crate::{
    KeystoreError, Pkcs11Uri, TokenAccess, TokenSelector,
    pin::PinSource,
    pin_latch::{PinLatch, PinRisk, mark},
};

pub(crate) struct Token {
    selector: TokenSelector,
    serial: String,
    /// Names the token, and no key.
    uri: Pkcs11Uri,
    quirk: &'static Quirk,
    pin: PinSource,
    /// Mark of the PIN that the token last accepted: its source may hold another PIN by now.
    accepted: Mutex<Option<[u8; 32]>>,
    latch: PinLatch,
    slot: Mutex<Slot>,
    module: ModuleUse,
}

impl Token {
    pub(super) fn find(access: &TokenAccess) -> Result<Token, KeystoreError> {
        let module = ModuleUse::acquire(&access.module)?;
        let (slot, info) = locate(&module, &access.token)?;
        Ok(Token {
            // From now on this token is selected, whatever other token gets the label later.
            selector: TokenSelector { serial: Some(info.serial_number().to_owned()), ..access.token.clone() },
            uri: uri_of(&info),
            quirk: Quirk::of(&info, module.context().get_library_info().ok().as_ref()),
            serial: info.serial_number().to_owned(),
            pin: access.pin.clone(),
            accepted: Mutex::default(),
            latch: PinLatch::new(access.pin_latch.clone()),
            slot: Mutex::new(slot),
            module,
        })
    }

    /// Returns what is special about tokens of this vendor.
    pub(super) fn quirk(&self) -> &'static Quirk {
        self.quirk
    }

    /// Classifies an error of this token.
    pub(super) fn classify(&self, error: &Error) -> RvClass {
        if self.quirk.is_refusal(error) { RvClass::Refused } else { classify(error) }
    }

    pub(super) fn session(&self) -> Result<Session, Error> {
        let slot = *lock(&self.slot);
        self.module.context().open_ro_session(slot)
    }

    pub(super) fn writable_session(&self) -> Result<Session, Error> {
        let slot = *lock(&self.slot);
        self.module.context().open_rw_session(slot)
    }

    /// Notes that there is no session with the token, so that the module may be finalised for another token of it.
    pub(super) fn quiet(&self) {
        self.module.quiet();
    }

    /// Returns whether the module is not finalised for this token, because another one of it is in use. The caller is quiet.
    pub(super) fn shares_module(&self) -> bool {
        self.module.others_use_it()
    }

    pub(crate) fn uri(&self) -> &Pkcs11Uri {
        &self.uri
    }

    /// Sets the module up anew and finds the token in it again. The caller has closed its sessions. Without `finalise`, the module is
    /// only initialised if necessary.
    pub(super) fn find_again(&self, finalise: bool) -> Result<(), KeystoreError> {
        self.module.reinitialise(finalise).map_err(|error| translate(&error))?;
        let (slot, _) = locate(&self.module, &self.selector)?;
        *lock(&self.slot) = slot;
        Ok(())
    }

    /// Checks whether a login would be tried now. Makes none.
    pub(super) fn check_login(&self) -> Result<(), KeystoreError> {
        let pin = self.read_pin()?;
        let risk = self.risk()?;
        self.latch.permit(&self.serial, (&pin, &self.pin.to_string()), risk).map(drop)
    }

    fn read_pin(&self) -> Result<SecretString, KeystoreError> {
        self.pin.read().map_err(|error| {
            tracing::error!(%error, "no login without the PIN");
            KeystoreError::Unavailable { reason: "the PIN cannot be read at its source" }
        })
    }

    /// Returns the token's description of itself.
    pub(super) fn info(&self) -> Result<TokenInfo, KeystoreError> {
        let slot = *lock(&self.slot);
        token_info(&self.module, slot).map_err(|error| translate(&error))
    }

    /// Returns what the token's flags report about wrong PINs.
    fn risk(&self) -> Result<PinRisk, KeystoreError> {
        let info = self.info()?;
        if !info.user_pin_initialized() {
            return Err(KeystoreError::PinNotSet);
        }
        Ok(PinRisk { count_low: info.user_pin_count_low(), final_try: info.user_pin_final_try(), locked: info.user_pin_locked() })
    }

    /// Logs the process in, unless it is logged in. The given session holds the login, which ends with the process's last session.
    ///
    /// # Errors
    /// [`AttemptError::Token`] when the session must not be used again.
    pub(super) fn login(&self, session: &Session) -> Result<(), AttemptError> {
        let mut logins = self.module.logins();
        let logged_in = is_logged_in(session)?;
        if logged_in && lock(&self.accepted).is_some_and(|accepted| logins.proves(&self.serial, &accepted)) {
            return Ok(());
        }
        let pin = self.read_pin()?;
        let mark = mark(&self.serial, &pin);
        if logged_in {
            return if logins.proves(&self.serial, &mark) { Ok(()) } else { Err(KeystoreError::LoggedInElsewhere.into()) };
        }
        let risk = self.risk()?;
        let attempt = self.latch.permit(&self.serial, (&pin, &self.pin.to_string()), risk)?;
        match session.login(UserType::User, Some(&pin)) {
            Ok(()) => {
                logins.record(&self.serial, mark);
                *lock(&self.accepted) = Some(mark);
                Ok(())
            }
            // Other code logged in between the check and the call; the lock shows that it was not this keystore.
            Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) if logins.proves(&self.serial, &mark) => Ok(()),
            Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn | RvError::UserAnotherAlreadyLoggedIn, _)) => {
                Err(KeystoreError::LoggedInElsewhere.into())
            }
            Err(Error::Pkcs11(RvError::UserPinNotInitialized, _)) => Err(KeystoreError::PinNotSet.into()),
            Err(Error::Pkcs11(RvError::PinLocked, _)) => {
                // Some tokens return this for the wrong PIN that locks them.
                attempt.rejected();
                Err(KeystoreError::PinAtRisk { state: "locked" }.into())
            }
            Err(error) if classify(&error) == RvClass::Pin => {
                attempt.rejected();
                Err(KeystoreError::PinRejected { pin: self.pin.to_string(), latch: self.latch.file() }.into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Returns the URI of a token.
pub(super) fn uri_of(info: &TokenInfo) -> Pkcs11Uri {
    // A token that leaves an attribute empty is not selected by it.
    let set = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Pkcs11Uri {
        token: set(info.label()),
        manufacturer: set(info.manufacturer_id()),
        model: set(info.model()),
        serial: set(info.serial_number()),
        ..Pkcs11Uri::default()
    }
}

/// Returns whether the process is logged in as user, as this session sees it.
pub(super) fn is_logged_in(session: &Session) -> Result<bool, Error> {
    let state = session.get_session_info()?.session_state();
    Ok(matches!(state, SessionState::RoUser | SessionState::RwUser))
}

/// Returns all tokens that can be read; another one is skipped with a warning.
pub(super) fn tokens(module: &ModuleUse) -> Result<Vec<(Slot, TokenInfo)>, KeystoreError> {
    let slots = module.context().get_slots_with_token().map_err(|error| translate(&error))?;
    let described = slots.into_iter().filter_map(|slot| match token_info(module, slot) {
        Ok(info) => Some((slot, info)),
        Err(error) => {
            tracing::warn!(slot = slot.id(), error = %translate(&error), "a token is left out: its description cannot be read");
            None
        }
    });
    Ok(described.collect())
}

pub(super) fn locate(module: &ModuleUse, selector: &TokenSelector) -> Result<(Slot, TokenInfo), KeystoreError> {
    let all = tokens(module)?;
    let (mut fitting, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, info)| {
        info.token_initialized()
            && [
                (&selector.label, info.label()),
                (&selector.serial, info.serial_number()),
                (&selector.manufacturer, info.manufacturer_id()),
                (&selector.model, info.model()),
            ]
            .iter()
            .all(|(wanted, has)| wanted.as_deref().is_none_or(|wanted| wanted == *has))
    });
    match (fitting.pop(), fitting.is_empty()) {
        (Some(token), true) => Ok(token),
        (Some(token), false) => Err(KeystoreError::TokenAmbiguous {
            wanted: Box::new(selector.clone()),
            serials: fitting.iter().chain([&token]).map(|(_, info)| info.serial_number().to_owned()).collect(),
        }),
        (None, _) => Err(missed(selector, &others)),
    }
}

/// Returns the error for a missing token, with the tokens that exist.
fn missed(selector: &TokenSelector, others: &[(Slot, TokenInfo)]) -> KeystoreError {
    let seen = |named: &dyn Fn(&TokenInfo) -> Option<String>| -> Vec<String> {
        others.iter().map(|(_, info)| info).filter(|info| info.token_initialized()).filter_map(named).collect()
    };
    let serials = seen(&|info| (Some(info.label()) == selector.label.as_deref()).then(|| info.serial_number().to_owned()));
    match selector {
        TokenSelector { label: Some(label), serial: Some(wanted), .. } if !serials.is_empty() => {
            KeystoreError::TokenSerial { label: label.clone(), wanted: wanted.clone(), seen: serials }
        }
        TokenSelector { label: None, .. } => KeystoreError::TokenNotFound {
            wanted: Box::new(selector.clone()),
            seen: seen(&|info| Some(info.serial_number().to_owned())),
        },
        _ => {
            KeystoreError::TokenNotFound { wanted: Box::new(selector.clone()), seen: seen(&|info| Some(info.label().to_owned())) }
        }
    }
}
