//! Accept loops of the Unix and the TCP listener. Both pass accepted connections to one channel. Each listener has connection
//! limits of its own, so that neither excludes the other's clients; a connection above the limit is closed at once. A TLS
//! handshake runs in a separate task, and takes a place only after it has succeeded.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use super::{
    Authorizer, Shutdown,
    connection::{Connection, Transport},
    connections::Connections,
    handshakes::Handshakes,
    idle_timeout::{ConnectionActivity, IdleTimeouts},
    log_throttle::LogThrottle,
    peer_layer::ConnectionPeer,
    tls::{Admitted, Identity},
};
use crate::{authz::Principals, config::Limits, service::Peer};

const HANDSHAKE: Duration = Duration::from_secs(5);

/// The state of an accept loop.
#[derive(Clone)]
pub(super) struct Acceptor {
    incoming: mpsc::Sender<io::Result<Connection>>,
    connections: Arc<Connections>,
    authorizer: Arc<Authorizer>,
    timeout: IdleTimeouts,
    shutdown: Shutdown,
    full: Arc<LogThrottle>,
}

impl Acceptor {
    /// Makes the acceptor of one listener.
    pub(super) fn new(
        incoming: mpsc::Sender<io::Result<Connection>>,
        limits: &Limits,
        authorizer: Arc<Authorizer>,
        shutdown: Shutdown,
    ) -> Self {
        let connections = Connections::at_most(limits.connections);
        Self { incoming, connections, authorizer, timeout: IdleTimeouts::new(limits), shutdown, full: Arc::default() }
    }

    /// Cancelled when no new work is accepted.
    pub(super) fn draining(&self) -> CancellationToken {
        self.shutdown.draining.clone()
    }

    fn is_full(&self, kind: &str) {
        self.full.log(|times| tracing::warn!(kind, times, "too many connections, and none can be evicted: closed"));
    }

    /// Passes a connection on, if it has a place; returns false when the receiver is closed.
    async fn serve_connection(&self, transport: Transport, peer: Peer, over_tls: Option<(IpAddr, Admitted)>) -> bool {
        let kind = peer.kind();
        let (address, admitted) = over_tls.unzip();
        let activity = Arc::<ConnectionActivity>::default();
        let cancel = admitted.as_ref().map_or_else(|| self.shutdown.cancel.child_token(), Admitted::end);
        let Some(slot) = self.connections.admit(&peer.name(), address, (&activity, &cancel)) else {
            self.is_full(kind);
            return true;
        };
        let connection = Connection::new(transport, ConnectionPeer { peer, activity }, self.timeout, (cancel, slot), admitted);
        self.incoming.send(Ok(connection)).await.is_ok()
    }
}

/// Accepts connections from the Unix socket until the service drains.
pub(super) async fn unix(listener: UnixListener, acceptor: Acceptor) {
    loop {
        let accepted = tokio::select! {
            () = acceptor.shutdown.draining.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let Some(peer) = unix_peer(&stream) else {
                    continue;
                };
                if !acceptor.serve_connection(Transport::Unix(stream), peer, None).await {
                    return;
                }
            }
            Err(error) => pause(&error).await,
        }
    }
}

fn unix_peer(stream: &UnixStream) -> Option<Peer> {
    let credentials = stream.peer_cred().ok()?;
    Some(Peer::Unix(Arc::new(Principals::of_socket(credentials.uid(), credentials.gid()))))
}

/// Accepts connections from the TCP socket until the service drains.
pub(super) async fn tcp(listener: TcpListener, identity: Identity, handshakes: usize, acceptor: Acceptor) {
    let mut handshakes = Handshakes::at_most(handshakes, identity.handshakes());
    let (refused, given_up) = (Arc::<LogThrottle>::default(), LogThrottle::default());
    loop {
        let accepted = tokio::select! {
            () = acceptor.shutdown.draining.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                // No handshake for a client that could not have a place after it.
                if !acceptor.connections.may_have_place(Some(address.ip())) {
                    acceptor.is_full("mtls");
                    continue;
                }
                let (identity, acceptor, refused) = (identity.clone(), acceptor.clone(), Arc::clone(&refused));
                let full = handshakes.spawn(async move {
                    match tokio::time::timeout(HANDSHAKE, handshake(stream, &identity, &acceptor.shutdown.cancel)).await {
                        Ok(Ok((transport, peer, admitted))) => {
                            acceptor.serve_connection(transport, peer, Some((address.ip(), admitted))).await;
                        }
                        Ok(Err(error)) => {
                            acceptor.authorizer.count_failed_handshake();
                            refused.log(|times| tracing::info!(%address, %error, times, "TLS handshake refused"));
                        }
                        Err(_) => {
                            acceptor.authorizer.count_failed_handshake();
                            refused.log(|times| tracing::info!(%address, times, "TLS handshake took too long"));
                        }
                    }
                });
                if full {
                    given_up.log(|times| tracing::warn!(times, "too many TLS handshakes: the oldest was cancelled"));
                }
            }
            Err(error) => pause(&error).await,
        }
    }
}

async fn handshake(
    stream: TcpStream,
    identity: &Identity,
    cancel: &CancellationToken,
) -> io::Result<(Transport, Peer, Admitted)> {
    stream.set_nodelay(true)?;
    let in_force = identity.in_force();
    let stream = tokio_rustls::TlsAcceptor::from(in_force.config()).accept(stream).await?;
    let session = stream.get_ref().1;
    // The verifier requires a client certificate. A session without one cannot exist, and must not be trusted if it does.
    let chain = session.peer_certificates().unwrap_or_default();
    let certificate = chain.first().ok_or(io::ErrorKind::PermissionDenied)?;
    let admitted = identity.admit(chain, &in_force, cancel).ok_or(io::ErrorKind::PermissionDenied)?;
    let (principals, until) = Principals::of_certificate(certificate).map_err(|_| io::ErrorKind::PermissionDenied)?;
    Ok((Transport::Tls(Box::new(stream)), Peer::Tls { principals: Arc::new(principals), until }, admitted))
}

/// Usually the process is out of file descriptors: waiting allows connections to end.
async fn pause(error: &io::Error) {
    tracing::warn!(%error, "accept failed");
    tokio::time::sleep(Duration::from_millis(100)).await;
}
