//! Errors of the keystore: each states who can correct it, and whether a retry helps.

mod hint;

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Deserializer, Serialize, de::Error};

use super::{KeyType, TokenSelector, label::LabelFault};

/// A text of the program.
type Text = &'static str;

/// Reads a text of the program that came from another process of it. There are as many as the program has.
fn known_text<'de, D: Deserializer<'de>>(from: D) -> Result<Text, D::Error> {
    const MOST: usize = 256;
    static KNOWN: Mutex<BTreeSet<Text>> = Mutex::new(BTreeSet::new());
    let text = String::deserialize(from)?;
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    match known.get(text.as_str()) {
        Some(known) => Ok(known),
        None if known.len() < MOST && text.len() < MOST => {
            let text: Text = text.leak();
            known.insert(text);
            Ok(text)
        }
        None => Err(D::Error::custom("a text that the program does not have")),
    }
}

/// Why the keystore refused an operation. No message contains a PIN, a ciphertext or a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum KeystoreError {
    /// The PKCS#11 module cannot be loaded or initialised. For the operator; no retry.
    #[error("PKCS#11 module {} cannot be used: {reason}", module.display())]
    ModuleUnusable {
        /// The module as configured.
        module: PathBuf,
        /// What happened.
        reason: String,
    },
    /// The module shows no such token. For the operator; retry when the token may appear late.
    #[error("no token {wanted}; the module shows {}", list(seen))]
    TokenNotFound {
        /// The requested token.
        wanted: Box<TokenSelector>,
        /// The labels of the existing tokens.
        seen: Vec<String>,
    },
    /// Tokens have the label, but none has the serial number. For the operator; no retry.
    #[error("the token labelled {label:?} has the serial number {}; the configuration names {wanted:?}", list(seen))]
    TokenSerial {
        /// The label.
        label: String,
        /// The requested serial number.
        wanted: String,
        /// The serial numbers of tokens with this label.
        seen: Vec<String>,
    },
    /// Several tokens match. For the operator; no retry.
    #[error("there are several tokens {wanted}; their serial numbers are {}", list(serials))]
    TokenAmbiguous {
        /// The requested token.
        wanted: Box<TokenSelector>,
        /// The available serial numbers.
        serials: Vec<String>,
    },
    /// A token with this label exists already. For the operator; no retry.
    #[error("a token labelled {label:?} exists already")]
    TokenExists {
        /// The label.
        label: String,
    },
    /// The token was initialised but has no user PIN. For the operator; no retry.
    #[error("the token labelled {label:?} (serial number {serial:?}) is half made: {reason}")]
    TokenHalfMade {
        /// The label.
        label: String,
        /// Its serial number.
        serial: String,
        /// What is missing, and why.
        reason: String,
    },
    /// The token has a user PIN, and its replacement was not requested. For the operator; no retry.
    #[error("the token labelled {label:?} has a user PIN already")]
    UserPinSet {
        /// The label.
        label: String,
    },
    /// A PIN is shorter or longer than the token permits. For the operator; nothing was done.
    #[error("the {whose} PIN must have {min} to {max} bytes on this token; nothing was changed")]
    PinLength {
        /// `user` or `SO`.
        #[serde(deserialize_with = "known_text")]
        whose: Text,
        /// The minimum length in bytes.
        min: usize,
        /// The maximum length in bytes.
        max: usize,
    },
    /// The token rejected a PIN that was to be set, or the SO PIN. For the operator; no retry with the same PIN.
    #[error("the token refused the {whose} PIN ({code})")]
    PinRefused {
        /// `user` or `SO`.
        #[serde(deserialize_with = "known_text")]
        whose: Text,
        /// The name of the return value.
        code: String,
    },
    /// One more wrong SO PIN would make the token permanently unusable. For the operator; no retry.
    #[error("the token's SO PIN is at risk ({state}); no login was tried")]
    SoPinAtRisk {
        /// `locked` or `final try`.
        #[serde(deserialize_with = "known_text")]
        state: Text,
    },
    /// No slot has an uninitialised token. For the operator; no retry.
    #[error("the module has no slot with an uninitialised token")]
    NoFreeSlot,
    /// The token's user PIN was never set. For the operator; no retry.
    #[error("the token has no user PIN yet")]
    PinNotSet,
    /// The token has just rejected the PIN, which is latched. For the operator; **never** retry with the same PIN.
    #[error("the token refused the PIN from {pin}; it will not be tried again")]
    PinRejected {
        /// The source of the PIN.
        pin: String,
        /// The file that remembers it.
        latch: Option<PathBuf>,
    },
    /// This PIN was rejected before, and was not tried now. For the operator; no retry until the PIN is changed.
    #[error("the PIN from {pin} was refused before and is not tried again")]
    PinLatched {
        /// The source of the PIN.
        pin: String,
        /// The file that remembers it.
        latch: Option<PathBuf>,
    },
    /// The token reports wrong PINs, and one more could lock it. For the operator; no retry.
    #[error("the token's PIN is at risk ({state}); no login was tried")]
    PinAtRisk {
        /// `locked`, `final try` or `count low`.
        #[serde(deserialize_with = "known_text")]
        state: Text,
    },
    /// The file of rejected PINs cannot be read or written; without it no login is tried. For the operator; no retry.
    #[error("the PIN latch file {} cannot be used: {reason}", path.display())]
    LatchUnusable {
        /// The file.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
    /// Other code in this process has logged in to the token, so the PIN cannot be verified. An internal error; no retry.
    #[error("another part of this process is logged in to the token with a PIN not known to be ours")]
    LoggedInElsewhere,
    /// No usable key has this label. For the caller, or for the operator at the start; no retry.
    #[error("no key labelled {label:?} in the token")]
    KeyNotFound {
        /// The label.
        label: String,
    },
    /// The key of this label is of no type that is used. For the operator; no retry.
    #[error("the key labelled {label:?} in the token is {kind}; an RSA, EC P-256, EC P-384 or Ed25519 key is needed")]
    KeyOfOtherType {
        /// The label.
        label: String,
        /// The key type: `EC secp256k1`, `AES`.
        kind: String,
    },
    /// Several private keys have this label. For the operator; no retry.
    #[error("several private keys are labelled {label:?}")]
    KeyAmbiguous {
        /// The label.
        label: String,
    },
    /// Two tokens have different keys with one label. For the operator; no retry.
    #[error("the tokens {:?} and {:?} have different keys labelled {label:?}", tokens[0], tokens[1])]
    KeysDiffer {
        /// The label.
        label: String,
        /// The labels of two tokens.
        tokens: [String; 2],
    },
    /// The key's public half cannot be determined, or the configuration names the key twice. For the operator; no retry.
    #[error("the key labelled {label:?} cannot be used: {reason}")]
    KeyUnusable {
        /// The label.
        label: String,
        /// What is wrong with it.
        #[serde(deserialize_with = "known_text")]
        reason: Text,
    },
    /// A key with this label exists already. For the operator; no retry.
    #[error("a key labelled {label:?} exists already")]
    LabelExists {
        /// The label.
        label: String,
    },
    /// The key size is not supported (2048, 3072, 4096). For the caller; no retry.
    #[error("a key of {bits} bits is not made: 2048, 3072 or 4096")]
    KeySize {
        /// The requested size.
        bits: u32,
    },
    /// The usage has no scheme for keys of this type. For the caller; no retry.
    #[error("a key of type {key_type} has no use here")]
    KeyTypeUnfit {
        /// The requested type.
        key_type: KeyType,
    },
    /// The token generates no keys of this type. For the operator; no retry.
    #[error("the token generates no {key_type} keys ({code})")]
    KeyTypeUnsupported {
        /// The requested type.
        key_type: KeyType,
        /// The name of the return value.
        code: String,
    },
    /// A text is not a valid label of a token or key. For the caller; no retry.
    #[error("the label {label:?} cannot be used: {fault}")]
    Label {
        /// The text.
        label: String,
        /// What is wrong with it.
        fault: LabelFault,
    },
    /// The digest is not as long as the scheme's hash. For the caller; no retry.
    #[error("the digest has {got} bytes, the scheme needs {expected}")]
    DigestLength {
        /// The length that the scheme needs.
        expected: usize,
        /// The length received.
        got: usize,
    },
    /// The token does not support the scheme with this key, or the configuration does not allow the way to do it. For the operator; no retry.
    #[error("{scheme} cannot be done with the key labelled {label:?} on this token")]
    MechanismUnsupported {
        /// The key.
        label: String,
        /// The scheme's name.
        #[serde(deserialize_with = "known_text")]
        scheme: Text,
    },
    /// The scheme is for keys of another type. For the caller; no retry.
    #[error("{scheme} needs an {needed} key; the key labelled {label:?} is {key_type}")]
    SchemeOfOtherType {
        /// The key.
        label: String,
        /// The scheme's name.
        #[serde(deserialize_with = "known_text")]
        scheme: Text,
        /// The type that the scheme is for.
        needed: KeyType,
        /// The type of the key.
        key_type: KeyType,
    },
    /// The wrapped key cannot be unwrapped: one error for every cause. For the sender; no retry.
    #[error("the wrapped key cannot be opened")]
    UnwrapFailed,
    /// Too many calls are waiting. Retry after a pause.
    #[error("too many calls are waiting for the token")]
    Overloaded,
    /// The token has no session or memory left. Retry after a pause.
    #[error("the token has no session or memory left")]
    SessionsExhausted,
    /// The call's deadline has passed; the operation may have been done. Retry with more time.
    #[error("the deadline passed")]
    DeadlineExceeded,
    /// The token is unavailable, or the keystore is closing. Retry; recovery is in progress.
    #[error("the token is not available: {reason}")]
    Unavailable {
        /// What was observed.
        #[serde(deserialize_with = "known_text")]
        reason: Text,
    },
    /// The token made a signature that its public key does not verify. A defect of the token; inform the operator.
    #[error("the token made a signature that does not verify")]
    SignatureInvalid,
    /// The token failed in a way without a more specific error. A fault of the token; a retry may help.
    #[error("the token failed in {operation} ({code})")]
    Fault {
        /// The PKCS#11 function.
        operation: String,
        /// The name of the return value.
        code: String,
    },
}

impl KeystoreError {
    /// Returns whether another token that has the key may serve the call: the token is away, busy or faulty, or lacks the key.
    pub(crate) fn concerns_one_token(&self) -> bool {
        matches!(
            self,
            Self::Unavailable { .. }
                | Self::Overloaded
                | Self::SessionsExhausted
                | Self::Fault { .. }
                | Self::SignatureInvalid
                | Self::KeyNotFound { .. }
                | Self::MechanismUnsupported { .. }
        ) || self.concerns_login()
    }

    /// Returns whether the token could not be opened, or its login failed.
    fn concerns_login(&self) -> bool {
        matches!(
            self,
            Self::ModuleUnusable { .. }
                | Self::TokenNotFound { .. }
                | Self::TokenSerial { .. }
                | Self::TokenAmbiguous { .. }
                | Self::PinNotSet
                | Self::PinRejected { .. }
                | Self::PinLatched { .. }
                | Self::PinAtRisk { .. }
                | Self::LatchUnusable { .. }
                | Self::LoggedInElsewhere
        )
    }

    /// Returns the error for the caller if two tokens fail in different ways: the one that a retry may help rather than the one
    /// that says that the token lacks the key.
    pub(crate) fn or_worse(self, other: Self) -> Self {
        let says_no = |error: &Self| matches!(error, Self::KeyNotFound { .. } | Self::MechanismUnsupported { .. });
        if says_no(&self) && !says_no(&other) { other } else { self }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ") }
}
