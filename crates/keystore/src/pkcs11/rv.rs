//! Classifies PKCS#11 return values. The values' own texts are paragraphs of the specification: only their names are reported.

use cryptoki::error::{Error, RvError};

use crate::KeystoreError;

/// How to handle a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RvClass {
    /// The session is closed or in an unknown state: open a new one, find the key again, retry once.
    Session,
    /// The key's handle is stale: find the key again, retry once.
    Handle,
    /// The login is lost: log in once, retry once.
    Login,
    /// The token or the module is lost: everything must be set up anew, in the background.
    Device,
    /// No session or memory left: shed load.
    Exhausted,
    /// The PIN was rejected or is locked: latch it, never retry.
    Pin,
    /// The token does not support this with this key.
    Refused,
    /// The input does not decrypt.
    Padding,
    /// Anything else.
    Other,
}

pub(super) fn classify(error: &Error) -> RvClass {
    let Error::Pkcs11(value, _) = error else {
        return match error {
            Error::NullFunctionPointer | Error::NotSupported => RvClass::Refused,
            _ => RvClass::Other,
        };
    };
    match value {
        RvError::SessionHandleInvalid | RvError::SessionClosed | RvError::OperationActive => RvClass::Session,
        RvError::KeyHandleInvalid | RvError::ObjectHandleInvalid => RvClass::Handle,
        RvError::UserNotLoggedIn => RvClass::Login,
        RvError::DeviceError
        | RvError::DeviceRemoved
        | RvError::TokenNotPresent
        | RvError::TokenNotRecognized
        | RvError::SlotIdInvalid
        | RvError::CryptokiNotInitialized => RvClass::Device,
        RvError::SessionCount | RvError::DeviceMemory | RvError::HostMemory => RvClass::Exhausted,
        RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange | RvError::PinExpired | RvError::PinLocked => {
            RvClass::Pin
        }
        RvError::MechanismInvalid
        | RvError::MechanismParamInvalid
        | RvError::KeyFunctionNotPermitted
        | RvError::KeyTypeInconsistent
        | RvError::KeySizeRange
        | RvError::FunctionNotSupported
        | RvError::FunctionRejected
        | RvError::ActionProhibited => RvClass::Refused,
        RvError::EncryptedDataInvalid
        | RvError::EncryptedDataLenRange
        | RvError::DataInvalid
        | RvError::DataLenRange
        | RvError::WrappedKeyInvalid
        | RvError::WrappedKeyLenRange => RvClass::Padding,
        _ => RvClass::Other,
    }
}

/// Returns whether the session's number may by now belong to another session: it must then be forgotten, not closed.
pub(super) fn handle_is_stale(error: &Error) -> bool {
    matches!(error, Error::Pkcs11(RvError::SessionHandleInvalid | RvError::SessionClosed | RvError::CryptokiNotInitialized, _))
}

/// Returns the error for the caller, when no retry is possible here.
pub(super) fn translate(error: &Error) -> KeystoreError {
    match classify(error) {
        RvClass::Device => KeystoreError::Unavailable { reason: "the token does not answer" },
        RvClass::Exhausted => KeystoreError::SessionsExhausted,
        RvClass::Pin => KeystoreError::PinRejected { pin: "its source".to_owned(), latch: None },
        _ => match error {
            Error::Pkcs11(value, function) => KeystoreError::Fault { operation: format!("C_{function:?}"), code: code(value) },
            // The others are the wrapper's own and contain no data of the token; their names suffice.
            _ => KeystoreError::Fault { operation: "the PKCS#11 wrapper".to_owned(), code: wrapper_error(error).to_owned() },
        },
    }
}

/// Returns the error for the caller after the retries: a fault of the token, whatever its name.
pub(super) fn fault(error: &Error) -> KeystoreError {
    match error {
        Error::Pkcs11(value, function) => KeystoreError::Fault { operation: format!("C_{function:?}"), code: code(value) },
        _ => translate(error),
    }
}

/// Returns the name of a return value in the standard: `CKR_GENERAL_ERROR`.
pub(super) fn code(value: &RvError) -> String {
    let mut spelled = "CKR".to_owned();
    for letter in format!("{value:?}").chars() {
        if letter.is_ascii_uppercase() {
            spelled.push('_');
        }
        spelled.push(letter.to_ascii_uppercase());
    }
    spelled
}

pub(super) fn wrapper_error(error: &Error) -> &'static str {
    match error {
        Error::LibraryLoading(_) => "it is not a loadable library",
        Error::MissingSymbol(_) => "it is not a PKCS#11 module",
        Error::NullFunctionPointer | Error::NotSupported => "it lacks a function",
        _ => "it answered a malformed value",
    }
}
