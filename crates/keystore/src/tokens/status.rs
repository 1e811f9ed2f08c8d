//! The state of a token, for health checks and administrators.

use std::path::PathBuf;

use crate::{KeystoreError, Pkcs11Uri};

/// The state of one token of a keystore.
#[derive(Debug, Clone)]
pub struct TokenStatus {
    /// The token's name in the configuration: its label, else its serial number.
    pub name: String,
    /// Its PKCS#11 URI, once it has been found.
    pub uri: Option<Pkcs11Uri>,
    /// Its PKCS#11 module.
    pub module: PathBuf,
    /// Whether it is used only while no primary token serves a call.
    pub standby: bool,
    /// Its share of the calls, relative to other tokens of its kind.
    pub weight: u32,
    /// Why it does not serve calls at present.
    pub unavailable: Option<KeystoreError>,
    /// Whether its module is in a process of its own.
    pub isolated: bool,
    /// Number of sessions for calls.
    pub sessions: usize,
    /// Number of calls in the module that were given up and have not returned.
    pub hung: usize,
    /// Number of calls that wait for a session.
    pub waiting: usize,
    /// The labels of the keys that it showed last.
    pub keys: Vec<String>,
}
