//! The peer of a connection and its principals.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::authz::Principals;

/// The peer of a connection, as the listener saw it. The server puts it into every request's extensions.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Peer {
    /// A process on this machine, connected through the Unix socket; user and group as the kernel reports them.
    Unix(Arc<Principals>),
    /// A client that authenticated with a certificate of the configured authority.
    Tls {
        /// The names in its certificate.
        principals: Arc<Principals>,
        /// When its certificate expires, in seconds since 1970. A connection may outlive it; its calls may not.
        until: i64,
    },
}

impl Peer {
    /// Returns the kind of peer, for logs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unix(_) => "unix",
            Self::Tls { .. } => "mtls",
        }
    }

    /// Returns the name that limits apply to, whether its certificate has expired or not.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Unix(principals) | Self::Tls { principals, .. } => principals.name(),
        }
    }

    /// Returns why its certificate has no name that a grant could use; `None` if it has one.
    #[must_use]
    pub fn namelessness(&self) -> Option<String> {
        match self {
            Self::Unix(principals) | Self::Tls { principals, .. } => principals.namelessness(),
        }
    }

    /// Returns the peer's principals; `None` if its certificate has expired meanwhile.
    #[must_use]
    pub fn principals(&self) -> Option<&Principals> {
        match self {
            Self::Unix(principals) => Some(principals),
            Self::Tls { principals, until } => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(i64::MAX, |now| now.as_secs().cast_signed());
                (now <= *until).then_some(principals)
            }
        }
    }
}
