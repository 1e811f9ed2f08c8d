//! The trial of a token's keys, which is recorded before the login, and the checks of a token up to it.

use std::path::Path;

use stationmaster_keystore::{Keystore, KeystoreConfig, KeystoreError, admin};
use stationmaster_system::memory;

use crate::{
    audit::Event,
    checks::{
        CheckNode, CheckState, files,
        token::{self, TriedKeys},
    },
    cli::{admin_audit, error::CliError, module_crash, token_access::Station},
    config::{PinSetting, TokenConfig},
    server::open_tokens,
};

/// Why keys could not be tried.
pub(in crate::cli) enum TrialError {
    /// The trial could not be recorded, so it was not made.
    Unrecorded(CliError),
    /// The token.
    Token(KeystoreError),
}

impl From<TrialError> for CliError {
    fn from(error: TrialError) -> Self {
        match error {
            TrialError::Unrecorded(error) => error,
            TrialError::Token(error) => error.into(),
        }
    }
}

/// Keeps other processes from reading the PIN.
pub(in crate::cli) fn protect() -> Result<(), CliError> {
    memory::protect_process().map_err(|error| CliError::other(format!("the process cannot be protected: {error}")))
}

/// Logs in and tries the configured keys that the token has. The record is made before the login.
pub(in crate::cli) fn tried(settings: KeystoreConfig, audit: &Path, token: &str, command: &str) -> Result<TriedKeys, TrialError> {
    let labels: Vec<_> = settings.keys.iter().map(|key| key.label.clone()).collect();
    let entry = admin_audit::entry(Event::KeysTried, command).with("token", token).with("keys", labels.clone());
    let mut failed = None;
    let done = admin_audit::carry_out(audit, entry, || {
        let trial = try_keys(settings, &labels);
        trial.inspect_err(|error| failed = Some(error.clone()))
    });
    done.map_err(|error| failed.map_or(TrialError::Unrecorded(error), TrialError::Token))
}

fn try_keys(settings: KeystoreConfig, labels: &[String]) -> Result<TriedKeys, KeystoreError> {
    let there = admin::contents(&settings.access)?.keys;
    let has = |label: &str| there.iter().any(|key| key.label == label);
    let missing = labels.iter().filter(|label| !has(label)).cloned().collect();
    let keys: Vec<_> = settings.keys.iter().filter(|key| has(&key.label)).cloned().collect();
    if keys.is_empty() {
        return Ok(TriedKeys { keys: Vec::new(), missing });
    }
    let keystore = Keystore::open(KeystoreConfig { keys, sessions: 1, ..settings })?;
    let keys = keystore.keys();
    // A call that hangs is left to the end of the process.
    let _ = keystore.close();
    Ok(TriedKeys { keys, missing })
}

/// Whether a check may log in to the token and try its keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum LoginOnce {
    /// Yes, once; the trial is recorded as this command's.
    As(&'static str),
    /// No.
    Never,
}

/// Checks all tokens of a station. Must be called before any thread runs.
pub(in crate::cli) fn all(station: &Station, login: LoginOnce) -> Vec<CheckNode> {
    let tokens = station.config.tokens.all();
    // First, because a module that is in use may have threads.
    let crashes: Vec<_> = tokens.iter().map(|token| module_crash::try_modules([&token.module()])).collect();
    tokens
        .iter()
        .zip(crashes)
        .map(|(token, crash)| match crash {
            Ok(()) => examined(station, token, login),
            Err(error) => {
                let module =
                    CheckNode::new("Module", CheckState::Wrong, error.message).with_remedy(error.hint.unwrap_or_default());
                CheckNode::group("Tokens", vec![module]).with_subject(token.selector().name())
            }
        })
        .collect()
}

/// Checks one token: module, presence, source of the PIN, login, keys. What needs something that is wrong is skipped.
fn examined(station: &Station, settings: &TokenConfig, login: LoginOnce) -> CheckNode {
    let name = settings.selector().name().to_owned();
    let options = &station.options;
    let mut below: Vec<_> = token::present(settings, options).into();
    let is_there = !below.iter().any(CheckNode::fails);
    let pin = files::pin(settings);
    let has_pin = pin.state == CheckState::Usable && settings.pin() != PinSetting::Prompt;
    below.push(pin);
    let (login, keys) = match (is_there, has_pin) {
        (false, _) => skipped("the token cannot be used"),
        (true, false) => skipped("the PIN cannot be read here"),
        (true, true) => logged_in(station, settings, login),
    };
    below.push(login);
    below.push(keys);
    CheckNode::group("Tokens", below).with_subject(name)
}

fn skipped(because: &str) -> (CheckNode, CheckNode) {
    let skipped = |what| CheckNode::skipped(what, format!("not checked: {because}"));
    (skipped("Login"), skipped("Keys"))
}

fn logged_in(station: &Station, settings: &TokenConfig, login: LoginOnce) -> (CheckNode, CheckNode) {
    let keys_skipped = |because: String| CheckNode::skipped("Keys", format!("not checked: {because}"));
    if station.config.state.directory.exists() && crate::server::disk::lack(&station.config).is_some() {
        return skipped("the disk is full: a refused PIN could not be remembered");
    }
    let opened = match open_tokens::keystore_config(&station.config, settings) {
        Ok(opened) => opened,
        Err(error) => {
            return (
                CheckNode::new("Login", CheckState::Wrong, error.to_string()),
                keys_skipped("no login is possible".to_owned()),
            );
        }
    };
    let permitted = token::login(&opened.access, &station.options);
    if permitted.fails() {
        return (permitted, keys_skipped("no login is tried".to_owned()));
    }
    let LoginOnce::As(command) = login else {
        return (permitted, keys_skipped("no login was made".to_owned()));
    };
    match tried(opened, &station.config.audit_directory(), settings.selector().name(), command) {
        Ok(tried) => {
            let login = CheckNode::new("Login", CheckState::Usable, "the token accepted the PIN");
            (login, CheckNode::group("Keys", token::keys(&station.config, &tried, &station.options)))
        }
        Err(TrialError::Unrecorded(error)) => {
            (permitted, keys_skipped(format!("a trial is recorded before it is made, and that failed: {}", error.message)))
        }
        Err(TrialError::Token(error)) => match token::login_failed(&error, &station.options) {
            Some(login) => (login, keys_skipped("the login failed".to_owned())),
            None => (permitted, token::of_error("Keys", &error)),
        },
    }
}
