//! Checks of a token: its module, whether it is there, whether a login would be tried, and what the keys are.

use stationmaster_keystore::{
    KeyDescription, KeyType, KeystoreError, TokenAccess,
    admin::{self, TokenReport},
};

use super::{CheckNode, CheckState, files};
use crate::{
    authz::Purpose,
    config::{Config, TokenConfig},
    server::{fitness, open_tokens},
};

/// Checks the module, by loading it, and whether it shows the token. `options` name the station on the command line.
#[must_use]
pub fn present(token: &TokenConfig, options: &str) -> [CheckNode; 2] {
    let skipped = |because: &str| CheckNode::skipped("Token", format!("not checked: {because}"));
    let module = files::module(token);
    if module.state != CheckState::Usable {
        let module = match module.remedy {
            Some(_) => module,
            None => module.with_remedy("correct `module` in [token]; `find / -name '*pkcs11*.so' -o -name 'libsofthsm2.so'` finds modules, and `apt install softhsm2` installs SoftHSM"),
        };
        return [module, skipped("the module cannot be used")];
    }
    let all = match admin::list_tokens(&token.module()) {
        Ok(all) => all,
        Err(error) => return [of_error("Module", &error), skipped("the module cannot be used")],
    };
    let found = match admin::token_report(&token.module(), &token.selector()) {
        Ok(report) => of_report(&report),
        Err(error @ KeystoreError::TokenNotFound { .. }) => {
            let blank = all.iter().find(|token| token.flags.get("initialised") == Some(&false));
            let finding = of_error("Token", &error);
            match blank {
                Some(blank) => CheckNode {
                    note: format!("{error}; the token in slot {} is not initialised", blank.slot),
                    remedy: Some(format!(
                        "`stationmaster token init {options}` initialises it; `token list {options}` shows all. {}",
                        finding.remedy.unwrap_or_default()
                    )),
                    ..CheckNode::new("Token", CheckState::Wrong, "")
                },
                None => finding,
            }
        }
        Err(error) => of_error("Token", &error),
    };
    [module, found]
}

fn of_report(report: &TokenReport) -> CheckNode {
    let is = |flag: &str| report.flags.get(flag) == Some(&true);
    let uri = report.uri.to_string();
    let warned =
        |note: &str, remedy: &str| CheckNode::new("Token", CheckState::Warned, format!("{uri}: {note}")).with_remedy(remedy);
    if is("error_state") {
        return CheckNode::new("Token", CheckState::Wrong, format!("{uri} reports that its self-test failed (CKF_ERROR_STATE)"))
            .with_remedy("see the device's manual: it uses no key until it is reset");
    }
    if is("so_pin_locked") || is("so_pin_final_try") || is("so_pin_count_low") {
        return warned(
            "wrong SO PINs were entered",
            "find out who tried; the SO PIN can replace a lost user PIN, and too many wrong ones lock it for good",
        );
    }
    if is("write_protected") {
        return warned("it is read-only", "keys can be used and none be made: its vendor's tool makes it writable");
    }
    CheckNode::new("Token", CheckState::Usable, uri)
}

/// Checks whether a login with the configured PIN would be tried now. Makes none.
#[must_use]
pub fn login(access: &TokenAccess, options: &str) -> CheckNode {
    match admin::check_login(access) {
        Ok(()) => CheckNode::new("Login", CheckState::Usable, format!("the PIN from {} would be tried", access.pin)),
        Err(error) => login_refused(&error, options),
    }
}

/// Returns the finding of an error of the login, if it is one.
#[must_use]
pub fn login_failed(error: &KeystoreError, options: &str) -> Option<CheckNode> {
    let is_login = matches!(
        error,
        KeystoreError::PinNotSet
            | KeystoreError::PinRejected { .. }
            | KeystoreError::PinLatched { .. }
            | KeystoreError::PinAtRisk { .. }
            | KeystoreError::LatchUnusable { .. }
            | KeystoreError::LoggedInElsewhere
    );
    is_login.then(|| login_refused(error, options))
}

fn login_refused(error: &KeystoreError, options: &str) -> CheckNode {
    let finding = of_error("Login", error);
    let also = finding.remedy.clone().map(|hint| format!(". {hint}")).unwrap_or_default();
    match error {
        KeystoreError::PinNotSet => finding.with_remedy(format!("`stationmaster pin set {options}` sets it, with the SO PIN")),
        KeystoreError::PinLatched { .. } | KeystoreError::PinRejected { .. } | KeystoreError::PinAtRisk { .. } => {
            finding.with_remedy(format!("`stationmaster pin unblock {options}` sets a new user PIN, with the SO PIN{also}"))
        }
        _ => finding,
    }
}

/// Returns the finding of an error of the token.
#[must_use]
pub fn of_error(what: &'static str, error: &KeystoreError) -> CheckNode {
    let finding = CheckNode::new(what, CheckState::Wrong, error.to_string());
    match error.hint() {
        Some(hint) => finding.with_remedy(hint),
        None => finding,
    }
}

/// What the trial of a token's keys has found.
pub struct TriedKeys {
    /// The configured keys that the token has, with what works.
    pub keys: Vec<KeyDescription>,
    /// Labels of configured keys that the token does not have.
    pub missing: Vec<String>,
}

/// Checks how each configured key was made, and whether what its purpose needs works on this token.
#[must_use]
pub fn keys(config: &Config, tried: &TriedKeys, options: &str) -> Vec<CheckNode> {
    let purposes = open_tokens::key_purposes(config);
    let purpose = |label: &str| purposes.get(label).unwrap_or(Purpose::General);
    let several = config.tokens.all().len() > 1;
    let missing = tried.missing.iter().map(|label| {
        let state = if several { CheckState::Warned } else { CheckState::Wrong };
        CheckNode::new("Key", state, format!("the token has no key labelled {label:?}")).with_subject(label).with_remedy(format!(
            "`stationmaster key generate {label} --purpose {} {options}` makes it; `key list {options}` shows what the token holds",
            purpose(label).name()
        ))
    });
    let there = tried.keys.iter().map(|key| self::key(config, key, purpose(&key.label), options).with_subject(&key.label));
    missing.chain(there).collect()
}

/// Checks how a key was made, and whether what a purpose needs works on this token.
#[must_use]
pub fn key(config: &Config, key: &KeyDescription, purpose: Purpose, options: &str) -> CheckNode {
    let label = &key.label;
    let another = format!(
        "`stationmaster key generate NEW-LABEL --purpose {} {options}` makes one that never leaves the token; then name it in the configuration",
        purpose.name()
    );
    if key.extractable || !key.sensitive {
        let how =
            if key.extractable { "can be exported (CKA_EXTRACTABLE)" } else { "can be read in plain text (not CKA_SENSITIVE)" };
        return CheckNode::new("Key", CheckState::Wrong, format!("the private key {label:?} {how}")).with_remedy(another);
    }
    if let Err(lack) = fitness::lacks(purpose, key, config) {
        return CheckNode::new("Key", CheckState::Wrong, lack).with_remedy(format!(
            "`stationmaster token show --keys {options}` lists what works; docs/tokens.md lists what tokens cannot do"
        ));
    }
    let kind = if key.key_type == KeyType::Rsa { format!("RSA, {} bits", key.bits) } else { key.key_type.to_string() };
    if !key.generated_in_token || !key.never_extractable {
        return CheckNode::new(
            "Key",
            CheckState::Warned,
            format!(
                "{kind}; the token does not tell that it was generated there and never left (CKA_LOCAL, CKA_NEVER_EXTRACTABLE)"
            ),
        )
        .with_remedy(format!("if it was imported, a copy may exist elsewhere. {another}"));
    }
    CheckNode::new("Key", CheckState::Usable, format!("{kind}, generated in the token, never extractable"))
}
