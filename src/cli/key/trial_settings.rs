//! How one key of a token is opened to be tried, and what its trial shows.

use std::time::Duration;

use stationmaster_keystore::{Capability, KeyConfig, KeyDescription, KeystoreConfig, TokenAccess};

use crate::{authz::Purpose, config::TokenConfig, protocol::key_usage};

/// Returns the settings for a trial of one key, as the service would use it.
pub(super) fn trial_settings(token: &TokenConfig, access: TokenAccess, label: &str, purpose: Purpose) -> KeystoreConfig {
    KeystoreConfig {
        keys: vec![KeyConfig::new(label, key_usage(purpose))],
        allow_raw_unwrap: token.allow_raw_unwrap,
        allow_raw_sign: token.allow_raw_sign,
        call_timeout: Duration::from_secs(token.call_timeout_s),
        isolation: token.isolation(),
        open_timeout: Duration::from_secs(token.open_timeout_s),
        ..KeystoreConfig::new(access)
    }
}

/// Returns what is wrong with a key that signs with no scheme of its purpose.
pub(super) fn signs_nothing(key: &KeyDescription, purpose: Purpose) -> Option<String> {
    let can = |scheme: &str| key.capabilities.get(scheme).is_some_and(|can| *can != Capability::No);
    let signs = key_usage(purpose).sign.iter().any(|scheme| scheme.key_type() == key.key_type && can(scheme.name()));
    (!signs).then(|| format!("the key signs with no scheme for {} keys", purpose.name()))
}
