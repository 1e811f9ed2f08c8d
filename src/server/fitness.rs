//! Checks that the configured keys can serve their purpose on this token, from the self-test made when the token is opened.

use std::sync::Arc;

use jiff::Timestamp;
use stationmaster_keystore::{Capability, KeyDescription, KeyType, OaepScheme, SignScheme};

use super::ServerError;
use crate::{
    authz::Purpose,
    config::{Config, TokenConfig},
    key_states::{KeyState, KeyStates},
    protocol::{AuditedKeys, checkpoint_scheme},
};

/// Minimum size of RSA keys in bits; trains with smaller keys are refused.
const LEAST_BITS: u32 = 2048;

/// Refuses to start with a train key that cannot do what trains need, or an audit key that cannot sign checkpoints. Waiting does
/// not repair that, so the service must not appear healthy.
///
/// # Errors
/// Names the key, what it lacks, and the remedy.
pub(super) async fn at_start(keys: &AuditedKeys, config: &Config) -> Result<(), ServerError> {
    let states = states(keys).await.map_err(ServerError::Unfit)?;
    not_all_retired(&states, config).map_err(ServerError::Unfit)?;
    let keys: Vec<_> = keys.keys().into_iter().filter(|key| !is_retired(&states, key.purpose, key.label())).collect();
    let checked = keys.iter().filter(|key| matches!(key.purpose, Purpose::Train | Purpose::Audit));
    checked
        .map(|key| lacks(key.purpose, &key.description, config))
        .find(Result::is_err)
        .unwrap_or(Ok(()))
        .map_err(ServerError::Unfit)
}

/// Checks that every configured train key that is not retired, and the audit key, exists and can serve its purpose.
///
/// # Errors
/// Names the key that cannot, and the remedy.
pub(super) async fn of_trains(keys: &AuditedKeys, config: &Config) -> Result<(), String> {
    let states = states(keys).await?;
    not_all_retired(&states, config)?;
    let keys = keys.keys();
    let used = config.keys.train.iter().filter(|label| !is_retired(&states, Purpose::Train, label));
    for label in used.chain([&config.audit.key]) {
        let key = keys.iter().find(|key| key.label() == label);
        let key = key.ok_or_else(|| format!("the key {label:?} is no longer in the token"))?;
        lacks(key.purpose, &key.description, config)?;
    }
    Ok(())
}

/// Returns the states of the train keys; an unusable file is an error even while its previous contents stay in force.
async fn states(keys: &AuditedKeys) -> Result<Arc<KeyStates>, String> {
    let states = keys.key_states().await.map_err(|error| format!("{error} ({})", error.hint()))?;
    states.flaw.map_or(Ok(states.value), |flaw| Err(flaw.to_string()))
}

fn is_retired(states: &KeyStates, purpose: Purpose, label: &str) -> bool {
    purpose == Purpose::Train && states.state(label, Timestamp::now()) == KeyState::Retired
}

/// Checks that trains can be served with at least one of the configured train keys, if there are any.
fn not_all_retired(states: &KeyStates, config: &Config) -> Result<(), String> {
    let train = &config.keys.train;
    if train.is_empty() || !train.iter().all(|label| is_retired(states, Purpose::Train, label)) {
        return Ok(());
    }
    Err(format!(
        "every train key is retired ({}): `key generate LABEL --purpose train` makes another one, under a new label; name it in `train` of \
         [keys]",
        train.join(", ")
    ))
}

/// Checks whether a key can serve its purpose.
///
/// # Errors
/// Names the key, what it lacks, and the remedy.
pub(crate) fn lacks(purpose: Purpose, description: &KeyDescription, config: &Config) -> Result<(), String> {
    let label = &description.label;
    let lacks = |scheme: &str| description.capabilities.get(scheme).is_none_or(|can| *can == Capability::No);
    let cannot = |scheme: &str, what: &str| format!("the key {label:?} cannot {what} on this token ({scheme})");
    match purpose {
        // The TLS key is checked with its certificate.
        Purpose::General | Purpose::Tls => Ok(()),
        Purpose::Audit => match checkpoint_scheme(description.key_type) {
            None => Err(format!(
                "the audit key {label:?} is {}; checkpoints need an RSA, EC P-256 or Ed25519 key: `key generate --purpose audit` makes one, under \
                 another label",
                description.key_type
            )),
            Some(scheme) if lacks(scheme.name()) && description.key_type == KeyType::Rsa => {
                let remedy = raw_remedy(config, "allow_raw_sign", |token| token.allow_raw_sign);
                let cannot = cannot(scheme.name(), "sign checkpoints");
                Err(format!("{cannot}: {remedy}, or an audit key on P-256: `key generate --purpose audit --type ec-p256`"))
            }
            Some(scheme) if lacks(scheme.name()) => Err(cannot(scheme.name(), "sign checkpoints")),
            Some(_) => Ok(()),
        },
        Purpose::Train if description.key_type != KeyType::Rsa => Err(format!(
            "the train key {label:?} is {}; trains need an RSA key: `key generate --purpose train` makes one, under another label or after this \
             key was removed",
            description.key_type
        )),
        Purpose::Train if description.bits < LEAST_BITS => {
            Err(format!("the train key {label:?} has {} bits; trains need at least {LEAST_BITS}", description.bits))
        }
        Purpose::Train if lacks(SignScheme::PssSha512MaxSalt.name()) => {
            let remedy = raw_remedy(config, "allow_raw_sign", |token| token.allow_raw_sign);
            Err(format!(
                "{}: it refuses PSS with the longest salt; {remedy}",
                cannot(SignScheme::PssSha512MaxSalt.name(), "sign trains")
            ))
        }
        Purpose::Train if lacks(OaepScheme::Sha512.name()) => {
            let remedy = raw_remedy(config, "allow_raw_unwrap", |token| token.allow_raw_unwrap);
            Err(format!("{}: {remedy}", cannot(OaepScheme::Sha512.name(), "open trains")))
        }
        Purpose::Train => Ok(()),
    }
}

/// Returns what an administrator can do about a scheme that raw RSA can replace where `setting` allows it.
fn raw_remedy(config: &Config, setting: &str, allows: impl Fn(&TokenConfig) -> bool) -> String {
    if config.tokens.all().iter().all(allows) {
        "another token is needed".to_owned()
    } else {
        format!("a token with raw RSA can be used with `{setting} = true` in [token]")
    }
}
