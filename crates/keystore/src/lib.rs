//! Private keys in a PKCS#11 token: finding, probing, signing and unwrapping.
//!
//! Keys live in the token and never leave it. A key is identified by its public key ([`KeyId`]); its label is a name, by which
//! [`Keystore::find`] finds it. [`Keystore`] finds the configured keys, learns by trial operations what the token can
//! do with each, and signs and unwraps with them through a bounded pool of sessions. What a key *may* be used for is not
//! decided here: the service layer above knows its callers.
//!
//! This applies to a station's keys. Creators of trains may have their keys in a file: [`software`].
//!
//! Only `keystore/pkcs11` uses the PKCS#11 library; raw RSA output never leaves that module.

pub mod admin;
mod backend;
mod config;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod identities;
mod isolated;
mod key;
mod key_type;
mod keystore;
pub mod label;
mod operation;
pub mod pin;
mod pin_latch;
mod pkcs11;
mod scheme;
pub mod softhsm;
pub mod software;
#[cfg(test)]
mod tests;
mod token_report;
mod tokens;
mod trial_log;
mod uri;
mod verify;

pub use config::{Isolation, KeyConfig, KeystoreConfig, ModuleConfig, TokenAccess, TokenSelector};
pub use error::KeystoreError;
pub use isolated::run_worker;
pub use key::{Capability, KeyDescription, KeyId, KeyUsage};
pub use key_type::{KeyType, NewKey};
pub use keystore::Keystore;
pub use scheme::{Hash, OaepScheme, SignScheme};
pub use tokens::TokenStatus;
pub use trial_log::{KeyUses, TrialLog};
pub use uri::{Pkcs11Uri, UriError};
