//! Counts of key uses, and reports of key trials.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use crate::{KeyDescription, KeystoreError};

/// Number of uses of this keystore's keys on the token since it was opened, including the trials at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KeyUses {
    /// Signatures requested from the token (`C_SignInit`).
    pub signatures: u64,
    /// Decryptions requested from the token (`C_DecryptInit`).
    pub decryptions: u64,
}

/// Receives reports of key trials after the start, on threads that may block: when a key has reappeared or was replaced.
pub trait TrialLog: Send + Sync {
    /// Reports that a key is about to be probed, or used again after a failure, which requests at most `most` uses of it from the token. An error prevents the
    /// trial, and with it the use of the key.
    ///
    /// # Errors
    /// When the trial cannot be recorded.
    fn about_to_try(&self, key: &KeyDescription, most: KeyUses) -> Result<(), KeystoreError>;

    /// Reports that the token was searched again: the keys found, and the number of key uses so far.
    fn found(&self, keys: &[KeyDescription], uses: KeyUses);
}

/// Receives reports of trials, once it is set.
pub(crate) type Trials = Arc<OnceLock<Arc<dyn TrialLog>>>;
