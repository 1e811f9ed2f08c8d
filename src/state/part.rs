//! The parts of a state directory.

use std::fmt;

/// A part of a state directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The ledger.
    Ledger,
    /// The instance's id.
    Instance,
    /// The service's audit log.
    Audit,
    /// Keys that were pinned at first sight.
    FirstSeen,
    /// The states of the train keys.
    KeyStates,
    /// The id of the station that the directory belongs to.
    Station,
}

impl Part {
    /// All parts.
    pub const ALL: [Self; 6] = [Self::Ledger, Self::Instance, Self::Audit, Self::FirstSeen, Self::KeyStates, Self::Station];

    /// Returns the part's name in the ledger and in commands.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::Instance => "instance",
            Self::Audit => "audit",
            Self::FirstSeen => "first-seen",
            Self::KeyStates => "key-states",
            Self::Station => "station",
        }
    }

    /// Returns what a station loses with the part.
    #[must_use]
    pub fn loss(self) -> &'static str {
        match self {
            Self::Ledger => "trains that completed here and are not in the ledger can be opened again, and open runs are lost",
            Self::Instance => "containers and volumes in the engine that carry the old id are no longer found",
            Self::Audit => "the earlier records are lost, and a new log begins",
            Self::FirstSeen => "the keys of all creators and stations are pinned again at first use",
            Self::KeyStates => "every configured train key is active, also a retired one",
            Self::Station => "runs of the other id no longer prevent a train from running here",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
