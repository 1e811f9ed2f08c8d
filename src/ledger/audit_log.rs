//! The audit logs whose positions the ledger keeps.

/// Selects an audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogOf {
    /// The service's own log.
    Service,
    /// The log of the administrators' commands, as the service found it.
    Administrators,
}

impl LogOf {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Administrators => "administrators",
        }
    }
}
