//! Opens the configured tokens, and checks them.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use stationmaster_keystore::{KeyConfig, Keystore, KeystoreConfig, Pkcs11Uri, TokenAccess, TokenStatus, pin};
use stationmaster_system::files::{Directory, FileThread, make_directory};

use super::{ServerError, health};
use crate::{
    authz::Purpose,
    config::{Config, PinSetting, TokenConfig},
    protocol::{AuditedKeys, KeyPurposes, key_usage},
};

/// Timeout of the health check.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Opens the configured token: login, key search, self-test.
///
/// # Errors
/// When the token cannot be used as configured.
pub(super) async fn open_keystore(config: &Config) -> Result<Keystore, ServerError> {
    let config = config.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let tokens = config.tokens.all().iter().map(|token| keystore_config(&config, token)).collect::<Result<_, _>>()?;
        Keystore::open_tokens(tokens).map_err(ServerError::from)
    });
    opened.await.map_err(|error| ServerError::Setup(format!("opening the token: {error}")))?
}

/// Returns the settings of a token with all configured keys.
///
/// # Errors
/// When no PIN is available.
pub fn keystore_config(config: &Config, token: &TokenConfig) -> Result<KeystoreConfig, ServerError> {
    let key = |(label, purpose): (String, _)| {
        let uri = config.key_uris.get(&label);
        let here = uri.is_none_or(|uri| token.may_have(uri));
        here.then(|| KeyConfig { id: uri.and_then(|uri| uri.id.clone()), ..KeyConfig::new(label, key_usage(purpose)) })
    };
    let mut keys: Vec<_> = configured_keys(config).filter_map(key).collect();
    keys.extend(config.tls_key().filter(|uri| token.may_have(uri)).and_then(tls_key));
    Ok(KeystoreConfig {
        keys,
        allow_raw_unwrap: token.allow_raw_unwrap,
        allow_raw_sign: token.allow_raw_sign,
        sessions: token.sessions,
        queue: token.queue,
        call_timeout: Duration::from_secs(token.call_timeout_s),
        keep_alive: (token.keep_alive_s > 0).then(|| Duration::from_secs(token.keep_alive_s)),
        standby: token.standby,
        weight: token.weight,
        isolation: token.isolation(),
        open_timeout: Duration::from_secs(token.open_timeout_s),
        ..KeystoreConfig::new(token_access(config, token)?)
    })
}

/// Returns the key that a URI names for TLS.
fn tls_key(uri: &Pkcs11Uri) -> Option<KeyConfig> {
    Some(KeyConfig { id: uri.id.clone(), ..KeyConfig::new(uri.object.clone()?, key_usage(Purpose::Tls)) })
}

/// Returns the configured keys with their purposes.
pub(crate) fn key_purposes(config: &Config) -> KeyPurposes {
    let tls_key = config.tls_key().and_then(|uri| uri.object.clone());
    configured_keys(config).chain(tls_key.map(|label| (label, Purpose::Tls))).collect()
}

/// Returns the keys that are looked for in every token.
fn configured_keys(config: &Config) -> impl Iterator<Item = (String, Purpose)> {
    let of = |labels: &[String], purpose| labels.iter().map(move |label| (label.clone(), purpose)).collect::<Vec<_>>();
    let keys = [
        of(&config.keys.train, Purpose::Train),
        of(&config.keys.general, Purpose::General),
        of(std::slice::from_ref(&config.audit.key), Purpose::Audit),
    ];
    keys.into_iter().flatten()
}

/// Returns a token of the configuration and its login.
///
/// # Errors
/// When no PIN is available.
pub fn token_access(config: &Config, token: &TokenConfig) -> Result<TokenAccess, ServerError> {
    let (mut file, mut credential, mut env, mut prompt) = (None, None, None, false);
    match token.pin() {
        PinSetting::File(path) => file = Some(path),
        PinSetting::Credential(name) => credential = Some(name),
        PinSetting::Env(name) => env = Some(name),
        PinSetting::Prompt => prompt = true,
    }
    Ok(TokenAccess {
        module: token.module(),
        token: token.selector(),
        pin: pin::resolve(file.as_deref(), env.as_deref(), credential.as_deref(), prompt)?,
        pin_latch: Some(pin_latch(config, token)?),
    })
}

/// Returns the file that remembers the token's rejected PINs. Of several tokens, each has its own in a directory of its own: logins with
/// one file take turns, and a token that hangs must not hold up another one's login. So has a token with a process of its own, which may
/// write to that directory and to no other part of the state.
pub(crate) fn pin_latch(config: &Config, token: &TokenConfig) -> Result<PathBuf, ServerError> {
    let state = &config.state.directory;
    let single = state.join("pin-latch");
    if config.tokens.all().len() == 1 && token.isolation().is_none() {
        return Ok(single);
    }
    let selector = token.selector();
    let name = openssl::sha::sha256(selector.to_string().as_bytes());
    let directory = state.join("tokens").join(const_hex::encode(&name[..8]));
    let latch = directory.join("pin-latch");
    if state.exists() && !latch.exists() {
        let failed = |error| ServerError::Setup(format!("creating {}: {error}", directory.display()));
        make_directory(&directory).map_err(failed)?;
        // From the time when there was one token. Its lines match no other token's PIN.
        if single.exists() {
            fs::copy(&single, &latch).map_err(failed)?;
            // The service must be able to read what a command of root copies.
            Directory::of_file(&latch).and_then(|(directory, name)| directory.open_own(name)).map_err(failed)?;
        }
    }
    Ok(latch)
}

/// Checks the tokens, and whether their PINs can be read for the next login. As long as the present logins last, the latter is a
/// warning, and so is a token that is away while others serve its keys.
pub(super) async fn of_tokens(keys: AuditedKeys, pin_files: FileThread) -> health::Checked {
    let sources = keys.pin_sources();
    let pins = async {
        let checked = pin_files.run(move || sources.iter().try_for_each(|source| source.check())).await;
        let flaw = match checked {
            Err(stuck) => Some(format!("the PIN cannot be read: {stuck}")),
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.hint().map_or_else(|| error.to_string(), |hint| format!("{error} ({hint})"))),
        };
        flaw.map(|flaw| format!("{flaw}: the next login to the token will fail"))
    };
    let (checked, pins) = tokio::join!(keys.check(Some(Instant::now() + TIMEOUT)), pins);
    let warnings: Vec<_> = pins.into_iter().chain(keys.tokens().iter().filter_map(token_warning)).collect();
    match checked {
        Ok(()) if warnings.is_empty() => Ok(None),
        Ok(()) => Ok(Some(warnings.join("; "))),
        Err(error) => Err([error.to_string()].into_iter().chain(warnings).collect::<Vec<_>>().join("; ")),
    }
}

/// Returns what is wrong with a token, when the service can do without it.
fn token_warning(token: &TokenStatus) -> Option<String> {
    let name = &token.name;
    match &token.unavailable {
        Some(error) => Some(match error.hint() {
            Some(hint) => format!("the token {name:?} is away: {error} ({hint})"),
            None => format!("the token {name:?} is away: {error}"),
        }),
        None if token.hung > 0 => Some(format!("{} calls hang in the module of the token {name:?}", token.hung)),
        None => None,
    }
}
