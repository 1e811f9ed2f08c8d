//! State of the token as last observed.

use std::time::Instant;

/// Whether the token can be used at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Logged in, and the keys were found.
    Ready,
    /// Unavailable; the keystore tries to recover it in the background.
    Down {
        /// When the token became unavailable.
        since: Instant,
        /// What was observed, without secrets.
        reason: &'static str,
    },
}
