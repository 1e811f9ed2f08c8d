//! The accept loops. Both hand finished connections to one channel; a TLS handshake runs in a task of its own and holds a slot
//! of the connection cap from its first byte.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};

use super::{
    Shutdown,
    connection::{Connection, Way},
    tls::Identity,
};
use crate::{access::Principals, service::Peer};

const HANDSHAKE: Duration = Duration::from_secs(5);

/// What an accept loop needs.
#[derive(Clone)]
pub(super) struct Gate {
    pub incoming: mpsc::Sender<io::Result<Connection>>,
    pub slots: Arc<Semaphore>,
    pub shutdown: Shutdown,
}

impl Gate {
    fn slot(&self, kind: &str) -> Option<OwnedSemaphorePermit> {
        let slot = self.slots.clone().try_acquire_owned().ok();
        if slot.is_none() {
            tracing::warn!(kind, "too many connections: closed one");
        }
        slot
    }
}

/// Accepts from the Unix socket until the service drains.
pub(super) async fn unix(listener: UnixListener, gate: Gate) {
    loop {
        let accepted = tokio::select! {
            () = gate.shutdown.draining.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let Some(slot) = gate.slot("unix") else {
                    continue;
                };
                let Some(peer) = unix_peer(&stream) else {
                    continue;
                };
                let connection = Connection::new(Way::Unix(stream), peer, gate.shutdown.cancel.clone(), slot);
                if gate.incoming.send(Ok(connection)).await.is_err() {
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

/// Accepts from the TCP socket until the service drains.
pub(super) async fn tcp(listener: TcpListener, identity: Identity, gate: Gate) {
    loop {
        let accepted = tokio::select! {
            () = gate.shutdown.draining.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let Some(slot) = gate.slot("mtls") else {
                    continue;
                };
                let (identity, gate) = (identity.clone(), gate.clone());
                tokio::spawn(async move {
                    match tokio::time::timeout(HANDSHAKE, handshake(stream, &identity)).await {
                        Ok(Ok((way, peer))) => {
                            let connection = Connection::new(way, peer, gate.shutdown.cancel.clone(), slot);
                            let _ = gate.incoming.send(Ok(connection)).await;
                        }
                        Ok(Err(error)) => tracing::info!(%address, %error, "TLS handshake refused"),
                        Err(_) => tracing::info!(%address, "TLS handshake took too long"),
                    }
                });
            }
            Err(error) => pause(&error).await,
        }
    }
}

async fn handshake(stream: TcpStream, identity: &Identity) -> io::Result<(Way, Peer)> {
    stream.set_nodelay(true)?;
    let stream = tokio_rustls::TlsAcceptor::from(identity.current()).accept(stream).await?;
    let session = stream.get_ref().1;
    // The verifier requires a client's certificate; a session without one cannot exist, and must not be believed if it does.
    let certificate = session.peer_certificates().and_then(<[_]>::first).ok_or(io::ErrorKind::PermissionDenied)?;
    let (principals, until) = Principals::of_certificate(certificate).map_err(|_| io::ErrorKind::PermissionDenied)?;
    Ok((Way::Tls(Box::new(stream)), Peer::Tls { principals: Arc::new(principals), until }))
}

/// Out of file descriptors, mostly: waiting lets some connection end.
async fn pause(error: &io::Error) {
    tracing::warn!(%error, "accept failed");
    tokio::time::sleep(Duration::from_millis(100)).await;
}
