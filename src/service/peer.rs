//! Who is at the other end of a connection.

use std::{net::SocketAddr, sync::Arc};

use tokio_rustls::rustls::pki_types::CertificateDer;

/// The other end of a connection, as the listener saw it. The server puts it into every request's extensions.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Peer {
    /// A process on this machine, through the Unix socket; ids as the kernel gives them.
    Unix {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
        /// Process id, where the kernel tells it.
        pid: Option<i32>,
    },
    /// A client that proved itself with a certificate of the configured authority.
    Tls {
        /// Its address.
        address: SocketAddr,
        /// Its certificate chain, its own first.
        certificates: Arc<Vec<CertificateDer<'static>>>,
    },
}

impl Peer {
    /// The kind of peer, for logs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unix { .. } => "unix",
            Self::Tls { .. } => "mtls",
        }
    }
}
