//! Counters of key uses, and of consecutive failures of the token.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::KeyUses;

/// Number of consecutive unexplained failures after which everything is set up anew.
const FAILURES_MAX: u32 = 5;

/// Shared by all threads of a keystore.
#[derive(Default)]
pub(crate) struct Counters {
    signatures: AtomicU64,
    decryptions: AtomicU64,
    failures: AtomicU32,
}

impl Counters {
    pub(super) fn signature(&self) {
        self.signatures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn decryption(&self) {
        self.decryptions.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn uses(&self) -> KeyUses {
        KeyUses { signatures: self.signatures.load(Ordering::Relaxed), decryptions: self.decryptions.load(Ordering::Relaxed) }
    }

    pub(super) fn succeeded(&self) {
        self.failures.store(0, Ordering::Relaxed);
    }

    /// Counts a failure; returns whether the limit is reached. The count then restarts.
    pub(super) fn failed_repeatedly(&self) -> bool {
        let too_many = self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES_MAX;
        if too_many {
            self.succeeded();
        }
        too_many
    }
}
