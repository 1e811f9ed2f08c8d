//! What can go wrong with keys: whose fault it is, and whether trying again helps.

use std::path::PathBuf;

/// Why the keystore refused. No message holds a PIN, a ciphertext or a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeystoreError {
    /// The PKCS#11 module cannot be loaded or initialised. The operator's; no retry.
    #[error("PKCS#11 module {} cannot be used: {reason}", module.display())]
    ModuleUnusable {
        /// The module as configured.
        module: PathBuf,
        /// What happened.
        reason: String,
    },
    /// The module shows no token with the label (and serial). The operator's; retry when the token may be late.
    #[error("no token labelled {label:?}; the module shows {}", list(seen))]
    TokenNotFound {
        /// The label that was looked for.
        label: String,
        /// The labels of the tokens that are there.
        seen: Vec<String>,
    },
    /// Several tokens carry the label. The operator's; no retry.
    #[error("several tokens are labelled {label:?}; their serial numbers are {}", list(serials))]
    TokenAmbiguous {
        /// The label.
        label: String,
        /// The serial numbers to choose from.
        serials: Vec<String>,
    },
    /// A token with this label exists already. The operator's; no retry.
    #[error("a token labelled {label:?} exists already")]
    TokenExists {
        /// The label.
        label: String,
    },
    /// No slot can take a new token. The operator's; no retry.
    #[error("the module has no slot with an uninitialised token")]
    NoFreeSlot,
    /// The token's user PIN was never set. The operator's; no retry.
    #[error("the token has no user PIN yet")]
    PinNotSet,
    /// The token has just refused the PIN; it is latched. The operator's; **never** retry with the same PIN.
    #[error("the token refused the PIN; it will not be tried again")]
    PinRejected,
    /// This PIN was refused before, and was not tried now. The operator's; no retry until the PIN is changed.
    #[error("this PIN was refused before and is not tried again")]
    PinLatched,
    /// The token says that wrong PINs have been given, and one more could lock it. The operator's; no retry.
    #[error("the token's PIN is at risk ({state}); no login was tried")]
    PinAtRisk {
        /// `locked`, `final try` or `count low`.
        state: &'static str,
    },
    /// The file of rejected PINs cannot be read or written; without it no login is tried. The operator's; no retry.
    #[error("the PIN latch file {} cannot be used: {reason}", path.display())]
    LatchUnusable {
        /// The file.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
    /// Something else in this process has logged in to the token, so our PIN cannot be checked. Ours; no retry.
    #[error("another part of this process is logged in to the token with a PIN not known to be ours")]
    LoggedInElsewhere,
    /// No usable key has this label. The caller's, or the operator's at the start; no retry.
    #[error("no key labelled {label:?} in the token")]
    KeyNotFound {
        /// The label.
        label: String,
    },
    /// Several private keys carry this label. The operator's; no retry.
    #[error("several private keys are labelled {label:?}")]
    KeyAmbiguous {
        /// The label.
        label: String,
    },
    /// The key's public half cannot be known, or the configuration names the key twice. The operator's; no retry.
    #[error("the key labelled {label:?} cannot be used: {reason}")]
    KeyUnusable {
        /// The label.
        label: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A key with this label exists already. The operator's; no retry.
    #[error("a key labelled {label:?} exists already")]
    LabelExists {
        /// The label.
        label: String,
    },
    /// The key size is not one we make (2048, 3072, 4096). The caller's; no retry.
    #[error("a key of {bits} bits is not made: 2048, 3072 or 4096")]
    KeySize {
        /// The size asked for.
        bits: u32,
    },
    /// A label is empty or too long. The caller's; no retry.
    #[error("a label must have between 1 and {max} bytes")]
    LabelLength {
        /// The longest that is taken.
        max: usize,
    },
    /// The digest is not as long as the scheme's hash. The caller's; no retry.
    #[error("the digest has {got} bytes, the scheme needs {expected}")]
    DigestLength {
        /// What the scheme needs.
        expected: usize,
        /// What came.
        got: usize,
    },
    /// The token cannot do the scheme with this key, or the configuration does not allow how. The operator's; no retry.
    #[error("{scheme} cannot be done with the key labelled {label:?} on this token")]
    MechanismUnsupported {
        /// The key.
        label: String,
        /// The scheme's name.
        scheme: &'static str,
    },
    /// The wrapped key does not open: one answer for every cause. The sender's; no retry.
    #[error("the wrapped key cannot be opened")]
    UnwrapFailed,
    /// Too many calls are waiting. Nobody's; retry after a pause.
    #[error("too many calls are waiting for the token")]
    Overloaded,
    /// The token has no session or memory left. Nobody's; retry after a pause.
    #[error("the token has no session or memory left")]
    SessionsExhausted,
    /// The caller's time is over; the operation may have been done. Retry with more time.
    #[error("the deadline passed")]
    DeadlineExceeded,
    /// The token is away, or we are closing. Retry; it is being looked for.
    #[error("the token is not available: {reason}")]
    Unavailable {
        /// What was noticed.
        reason: &'static str,
    },
    /// The token made a signature that its public key does not verify. The token's; call the operator.
    #[error("the token made a signature that does not verify")]
    SignatureInvalid,
    /// The token failed in a way that has no better name. The token's; a retry may help.
    #[error("the token failed in {operation} ({code})")]
    Fault {
        /// The PKCS#11 function.
        operation: String,
        /// The name of the return value.
        code: String,
    },
}

impl KeystoreError {
    /// Whether the same call may succeed later without a human.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            KeystoreError::Overloaded
                | KeystoreError::SessionsExhausted
                | KeystoreError::DeadlineExceeded
                | KeystoreError::Unavailable { .. }
                | KeystoreError::Fault { .. }
        )
    }

    /// What the operator can do, for a person at a terminal.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            KeystoreError::ModuleUnusable { .. } => "check the module's path; SoftHSM: apt install softhsm2",
            KeystoreError::TokenNotFound { .. } => {
                "check the label, and for SoftHSM that SOFTHSM2_CONF names the right file; `token init` makes a token"
            }
            KeystoreError::TokenAmbiguous { .. } => "add the serial number to the configuration",
            KeystoreError::TokenExists { .. } => "choose another label, or use the token that is there",
            KeystoreError::PinNotSet => "let the security officer set the user PIN",
            KeystoreError::PinRejected => "correct the PIN at its source; a changed PIN is tried once",
            KeystoreError::PinLatched => "correct the PIN at its source; if it is right after all, delete the latch file",
            KeystoreError::PinAtRisk { state: "count low" } => {
                "log in once with another tool (pkcs11-tool --login), which resets the count, or configure a latch file"
            }
            KeystoreError::PinAtRisk { .. } => "let the security officer reset the user PIN",
            KeystoreError::LatchUnusable { .. } => "the directory must exist and be writable for the service",
            KeystoreError::KeyNotFound { .. } => "`key list` shows what the token holds; `key generate` makes a key",
            KeystoreError::KeyAmbiguous { .. } => "give each key its own label (pkcs11-tool can rename)",
            KeystoreError::LabelExists { .. } => "choose another label; an existing key is never replaced",
            KeystoreError::MechanismUnsupported { .. } => {
                "`key show` lists what was tried; without native OAEP the configuration must allow raw unwrapping"
            }
            _ => return None,
        })
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ") }
}
