//! How one key of a token is opened to be tried.

use std::time::Duration;

use stationmaster_keystore::{KeyConfig, KeystoreConfig, TokenAccess};

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
