//! The purposes of keys, as options name them.

use clap::ValueEnum;

use crate::authz::Purpose;

/// What a key is for.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum KeyFor {
    /// The station's key on trains' routes
    Train,
    /// Sign and unwrap
    General,
    /// Checkpoints of the audit log only
    Audit,
    /// TLS handshakes of the service only
    Tls,
}

impl From<KeyFor> for Purpose {
    fn from(purpose: KeyFor) -> Self {
        match purpose {
            KeyFor::Train => Self::Train,
            KeyFor::General => Self::General,
            KeyFor::Audit => Self::Audit,
            KeyFor::Tls => Self::Tls,
        }
    }
}
