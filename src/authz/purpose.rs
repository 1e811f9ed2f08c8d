//! Purposes of keys, as configuration and grants name them.

/// Purpose of a station's key. A key has exactly one, set by the configuration, not by the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// The station's key on a train's route: used by the protocol only.
    Train,
    /// A key for all other operations.
    General,
    /// The key that signs the checkpoints of the audit log, and nothing else.
    Audit,
    /// The key of the service's TLS certificate: signs handshakes, and no caller sees or uses it.
    Tls,
}

impl Purpose {
    /// Returns the purpose's name: `train`, `general`, `audit`, `tls`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::General => "general",
            Self::Audit => "audit",
            Self::Tls => "tls",
        }
    }
}
