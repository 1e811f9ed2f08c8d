//! What can go wrong with keys: whose fault it is, and whether trying again helps.

use std::path::PathBuf;

use super::{label::LabelFault, softhsm};

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
    /// Tokens carry the label, and none of them the serial number. The operator's; no retry.
    #[error("the token labelled {label:?} has the serial number {}; the configuration names {wanted:?}", list(seen))]
    TokenSerial {
        /// The label.
        label: String,
        /// The serial number that was looked for.
        wanted: String,
        /// Those that tokens of this label have.
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
    /// The token was initialised and lacks its user PIN. The operator's; no retry.
    #[error("the token labelled {label:?} (serial number {serial:?}) is half made: {reason}")]
    TokenHalfMade {
        /// The label.
        label: String,
        /// Its serial number.
        serial: String,
        /// What is missing, and why.
        reason: String,
    },
    /// The token has a user PIN, and it was not said that it is to be replaced. The operator's; no retry.
    #[error("the token labelled {label:?} has a user PIN already")]
    UserPinSet {
        /// The label.
        label: String,
    },
    /// A PIN is shorter or longer than the token takes. The operator's; nothing was done.
    #[error("the {whose} PIN must have {min} to {max} bytes on this token; nothing was changed")]
    PinLength {
        /// `user` or `SO`.
        whose: &'static str,
        /// The shortest that is taken.
        min: usize,
        /// The longest that is taken.
        max: usize,
    },
    /// The token refused a PIN that was to be set, or the SO PIN. The operator's; no retry with the same PIN.
    #[error("the token refused the {whose} PIN ({code})")]
    PinRefused {
        /// `user` or `SO`.
        whose: &'static str,
        /// The name of the return value.
        code: String,
    },
    /// One more wrong SO PIN would make the token unusable for good. The operator's; no retry.
    #[error("the token's SO PIN is at risk ({state}); no login was tried")]
    SoPinAtRisk {
        /// `locked` or `final try`.
        state: &'static str,
    },
    /// No slot can take a new token. The operator's; no retry.
    #[error("the module has no slot with an uninitialised token")]
    NoFreeSlot,
    /// The token's user PIN was never set. The operator's; no retry.
    #[error("the token has no user PIN yet")]
    PinNotSet,
    /// The token has just refused the PIN; it is latched. The operator's; **never** retry with the same PIN.
    #[error("the token refused the PIN from {pin}; it will not be tried again")]
    PinRejected {
        /// Where the PIN comes from.
        pin: String,
        /// The file that remembers it.
        latch: Option<PathBuf>,
    },
    /// This PIN was refused before, and was not tried now. The operator's; no retry until the PIN is changed.
    #[error("the PIN from {pin} was refused before and is not tried again")]
    PinLatched {
        /// Where the PIN comes from.
        pin: String,
        /// The file that remembers it.
        latch: Option<PathBuf>,
    },
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
    /// The key of this label is no RSA key. The operator's; no retry.
    #[error("the key labelled {label:?} in the token is {kind}; an RSA key is needed")]
    KeyOfOtherType {
        /// The label.
        label: String,
        /// What it is: `EC`, `AES`.
        kind: String,
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
    /// A text is no label for a token or key. The caller's; no retry.
    #[error("the label {label:?} cannot be used: {fault}")]
    Label {
        /// The text.
        label: String,
        /// What is wrong with it.
        fault: LabelFault,
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

    /// What can be done about it, for a person at a terminal. Where the module is SoftHSM its files are looked at.
    pub fn hint(&self) -> Option<String> {
        let remembered = |latch: &Option<PathBuf>| match latch {
            Some(latch) => format!("; if it was right after all, delete {}", latch.display()),
            None => String::new(),
        };
        Some(match self {
            KeystoreError::ModuleUnusable { module, .. } => match softhsm::diagnose(module) {
                Some(found) => found,
                None if !module.exists() => "check the module's path; SoftHSM: apt install softhsm2".to_owned(),
                None => "check what the module needs (its configuration, the permissions of its files, its daemon or network)".to_owned(),
            },
            KeystoreError::TokenNotFound { seen, .. } => match softhsm::diagnose_usual().filter(|_| seen.is_empty()) {
                Some(found) => found,
                None => "check the label, and for SoftHSM that SOFTHSM2_CONF names the right file and that the token's files belong to \
                         this user; `token init` makes a token"
                    .to_owned(),
            },
            KeystoreError::TokenSerial { .. } => {
                "correct `serial` in [token], or leave it out; a token that was initialised anew has another one, and none of the old keys"
                    .to_owned()
            }
            KeystoreError::TokenAmbiguous { .. } => "add the serial number to the configuration".to_owned(),
            KeystoreError::TokenExists { .. } => "choose another label, or use the token that is there".to_owned(),
            KeystoreError::TokenHalfMade { serial, .. } => {
                let serial = if serial.is_empty() { String::new() } else { format!(" and --serial {serial}") };
                format!(
                    "`stationmaster token set-pin` finishes it, with the SO PIN that it was made with: name the token as before (--config, or --label \
                     and --module){serial}"
                )
            }
            KeystoreError::UserPinSet { .. } => "`token set-pin --replace` sets another one".to_owned(),
            KeystoreError::PinLength { .. } => "choose a PIN of such a length, and give the command again".to_owned(),
            KeystoreError::PinRefused { whose: "SO", code } if code.to_ascii_uppercase().contains("INCORRECT") => {
                "it is another than `token init` was given, or another token's; correct it before the next try: a token counts wrong SO PINs, and \
                 some lock for good"
                    .to_owned()
            }
            KeystoreError::PinRefused { .. } => "the token's own rules for PINs decide: see its manual".to_owned(),
            KeystoreError::SoPinAtRisk { .. } => "see the token's manual: with the SO PIN lost it can only be initialised anew".to_owned(),
            KeystoreError::PinNotSet => "`stationmaster token set-pin` sets it, with the SO PIN".to_owned(),
            KeystoreError::PinRejected { pin, latch } | KeystoreError::PinLatched { pin, latch } => {
                format!("correct the PIN in {pin}: a changed PIN is tried once{}", remembered(latch))
            }
            KeystoreError::PinAtRisk { state: "count low" } => {
                "log in once with another tool (pkcs11-tool --login), which resets the count, or configure a latch file".to_owned()
            }
            KeystoreError::PinAtRisk { .. } => "`stationmaster token set-pin --replace` sets the user PIN anew, with the SO PIN".to_owned(),
            KeystoreError::LatchUnusable { path, .. } => format!(
                "rejected PINs are remembered there: its directory {} must exist (the service's first start makes the state directory) and be \
                 writable for this user",
                path.parent().unwrap_or(path).display()
            ),
            KeystoreError::KeyNotFound { .. } => "`key list` shows what the token holds; `key generate` makes a key".to_owned(),
            KeystoreError::KeyOfOtherType { .. } => "`key generate` makes an RSA key, under another label".to_owned(),
            KeystoreError::KeyAmbiguous { .. } => "give each key its own label (pkcs11-tool can rename)".to_owned(),
            KeystoreError::Label { .. } => "choose a label of letters, digits, `-`, `_` and `.`".to_owned(),
            KeystoreError::LabelExists { .. } => "choose another label; an existing key is never replaced".to_owned(),
            KeystoreError::MechanismUnsupported { .. } => {
                "`key show` lists what was tried; without native OAEP the configuration must allow raw unwrapping".to_owned()
            }
            _ => return None,
        })
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ") }
}
