//! Who is at the other end of a connection.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::authz::Principals;

/// The other end of a connection, as the listener saw it. The server puts it into every request's extensions.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Peer {
    /// A process on this machine, through the Unix socket; user and group as the kernel gives them.
    Unix(Arc<Principals>),
    /// A client that proved itself with a certificate of the configured authority.
    Tls {
        /// The names in its certificate.
        principals: Arc<Principals>,
        /// When its certificate ends, in seconds since 1970. A connection may outlive it; its calls may not.
        until: i64,
    },
}

impl Peer {
    /// The kind of peer, for logs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unix(_) => "unix",
            Self::Tls { .. } => "mtls",
        }
    }

    /// The name that limits go by, whether its certificate has ended or not.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Unix(principals) | Self::Tls { principals, .. } => principals.name(),
        }
    }

    /// Why its certificate has no name that a grant could have; nothing where it has one.
    #[must_use]
    pub fn namelessness(&self) -> Option<String> {
        match self {
            Self::Unix(principals) | Self::Tls { principals, .. } => principals.namelessness(),
        }
    }

    /// Who it is now; nobody, when its certificate has ended meanwhile.
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
