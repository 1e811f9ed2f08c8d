//! The remedies of errors, for users at a terminal.

use std::path::PathBuf;

use super::KeystoreError;
use crate::{KeyType, isolated::DOES_NOT_OPEN, softhsm};

impl KeystoreError {
    /// Returns a remedy, for a user at a terminal. If the module is SoftHSM, its files are checked.
    pub fn hint(&self) -> Option<String> {
        let remembered = |latch: &Option<PathBuf>| match latch {
            Some(latch) => format!("; if it was right after all, delete {}", latch.display()),
            None => String::new(),
        };
        Some(match self {
            KeystoreError::ModuleUnusable { module, .. } => match softhsm::diagnose(module) {
                Some(found) => found,
                None if !module.exists() => "check the module's path; SoftHSM: apt install softhsm2".to_owned(),
                None => "check what the module needs (its configuration, the permissions of its files, its daemon or network; NSS: `module_init_args` in [token])"
                    .to_owned(),
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
                    "`stationmaster pin set` finishes it, with the SO PIN that it was made with: name the token as before (--config, or --label \
                     and --module){serial}"
                )
            }
            KeystoreError::UserPinSet { .. } => "`pin change` changes it with the present PIN, `pin unblock` replaces it with the SO PIN".to_owned(),
            KeystoreError::PinLength { .. } => "choose a PIN of such a length, and give the command again".to_owned(),
            KeystoreError::PinRefused { whose: "SO", code } if code.to_ascii_uppercase().contains("INCORRECT") => {
                "it is another than `token init` was given, or another token's; correct it before the next try: a token counts wrong SO PINs, and \
                 some lock for good"
                    .to_owned()
            }
            KeystoreError::PinRefused { .. } => "the token's own rules for PINs decide: see its manual".to_owned(),
            KeystoreError::SoPinAtRisk { .. } => "see the token's manual: with the SO PIN lost it can only be initialised anew".to_owned(),
            KeystoreError::PinNotSet => "`stationmaster pin set` sets it, with the SO PIN".to_owned(),
            KeystoreError::PinRejected { pin, latch } | KeystoreError::PinLatched { pin, latch } => {
                format!("correct the PIN in {pin}: a changed PIN is tried once{}", remembered(latch))
            }
            KeystoreError::PinAtRisk { state: "count low" } => {
                "log in once with another tool (pkcs11-tool --login), which resets the count, or configure a latch file".to_owned()
            }
            KeystoreError::PinAtRisk { .. } => "`stationmaster pin unblock` sets the user PIN anew, with the SO PIN; a TPM in lockout refuses that, too, until its recovery time has \
                 passed or `tpm2_dictionarylockout --clear-lockout` ends it"
                .to_owned(),
            KeystoreError::LatchUnusable { path, .. } => format!(
                "rejected PINs are remembered there: its directory {} must exist (the service's first start makes the state directory) and be \
                 writable for this user",
                path.parent().unwrap_or(path).display()
            ),
            KeystoreError::KeyNotFound { .. } => "`key list` shows what the token holds; `key generate` makes a key".to_owned(),
            KeystoreError::KeyOfOtherType { .. } => "`key generate` makes one that can be used, under another label".to_owned(),
            KeystoreError::KeyAmbiguous { .. } => "give each key its own label (pkcs11-tool can rename)".to_owned(),
            KeystoreError::KeysDiffer { .. } => {
                "a key on several tokens must be one key, restored from a backup; give other keys other labels (pkcs11-tool can rename)".to_owned()
            }
            KeystoreError::Label { .. } => "choose a label of letters, digits, `-`, `_` and `.`".to_owned(),
            KeystoreError::LabelExists { .. } => "choose another label; an existing key is never replaced".to_owned(),
            KeystoreError::MechanismUnsupported { .. } => {
                "`key show` lists what was tried; raw RSA can replace OAEP (`allow_raw_unwrap` in [token]) and the PSS salt that a token refuses (`allow_raw_sign`)".to_owned()
            }
            KeystoreError::SchemeOfOtherType { .. } => "`key show` lists the key's schemes".to_owned(),
            KeystoreError::KeyTypeUnfit { .. } => "a train or TLS key must be RSA, the audit's RSA, EC P-256 or Ed25519".to_owned(),
            KeystoreError::KeyTypeUnsupported { key_type: KeyType::Ed25519, .. } => {
                "`--type ec-p256` generates a key that more tokens support; `pkcs11-tool --list-mechanisms` shows what this one has".to_owned()
            }
            KeystoreError::KeyTypeUnsupported { .. } => {
                "`--type rsa` generates an RSA key; `pkcs11-tool --list-mechanisms` shows what this token has".to_owned()
            }
            KeystoreError::NoFreeSlot => "make the token with its own tool (NSS: certutil -N; openCryptoki: pkcsconf -I; others: their manual), or give the module \
                 another slot in its configuration"
                .to_owned(),
            KeystoreError::Fault { operation, code } if operation == "C_GenerateKeyPair" && code == "CKR_GENERAL_ERROR" => {
                "the token generates no such key: for the audit try `--type ec-p256`, because an RSA key of a TPM that signs also decrypts".to_owned()
            }
            KeystoreError::Unavailable { reason: DOES_NOT_OPEN } => {
                "check the module and what it needs (its configuration, its daemon or network); a token that is slow to open needs a higher `open_timeout_s` in [token]"
                    .to_owned()
            }
            KeystoreError::Unavailable { reason } if reason.starts_with("its module") => {
                "check the module and what it needs (its configuration, its daemon or network, `sandbox` and `writable` in [token])".to_owned()
            }
            KeystoreError::SessionsExhausted => {
                "end other programs that use the token, lower `sessions` in [token], or delete objects that are no longer needed".to_owned()
            }
            KeystoreError::Fault { code, .. } => of_code(code).to_owned(),
            _ => return None,
        })
    }
}

/// Returns the remedy for a return value that has no error of its own.
fn of_code(code: &str) -> &'static str {
    match code {
        "CKR_TOKEN_WRITE_PROTECTED" | "CKR_SESSION_READ_ONLY" => {
            "the token is read-only: make it writable with its vendor's tool; nothing was changed"
        }
        "CKR_KEY_SIZE_RANGE" => {
            "the token does not support keys of this size: choose another --bits; `token show` lists its sizes"
        }
        "CKR_OBJECT_HANDLE_INVALID" | "CKR_KEY_HANDLE_INVALID" => {
            "the object was deleted or replaced while it was used: try again; `key list` shows what the token holds"
        }
        _ => "see the log and the manual of the token's module; `token show` shows the token's state",
    }
}
