//! The accept loops. Both hand finished connections to one channel. Each has a connection cap of its own, so that neither keeps
//! the other's callers out, and what is over it is closed at once; a TLS handshake runs in a task of its own, and takes a slot of
//! the cap only when it has ended well.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tokio_util::sync::CancellationToken;

use super::{
    Doorkeeper, Shutdown,
    attention::Patience,
    connection::{Connection, Way},
    handshakes::Handshakes,
    tls::Identity,
};
use crate::{access::Principals, config::Limits, service::Peer};

const HANDSHAKE: Duration = Duration::from_secs(5);

/// What an accept loop needs.
#[derive(Clone)]
pub(super) struct Gate {
    incoming: mpsc::Sender<io::Result<Connection>>,
    slots: Arc<Semaphore>,
    door: Arc<Doorkeeper>,
    patience: Patience,
    shutdown: Shutdown,
    full: Arc<Seldom>,
}

impl Gate {
    /// The gate of one listener.
    pub(super) fn new(
        incoming: mpsc::Sender<io::Result<Connection>>,
        limits: &Limits,
        door: Arc<Doorkeeper>,
        shutdown: Shutdown,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(limits.connections));
        Self { incoming, slots, door, patience: Patience::new(limits), shutdown, full: Arc::default() }
    }

    /// Cancelled when no new work is taken.
    pub(super) fn draining(&self) -> CancellationToken {
        self.shutdown.draining.clone()
    }

    fn slot(&self, kind: &str) -> Option<OwnedSemaphorePermit> {
        let slot = self.slots.clone().try_acquire_owned().ok();
        if slot.is_none() {
            self.full.say(|times| tracing::warn!(kind, times, "too many connections: closed"));
        }
        slot
    }

    /// Hands a connection on; false when nobody takes any.
    async fn let_in(&self, way: Way, peer: Peer, slot: OwnedSemaphorePermit) -> bool {
        let connection = Connection::new(way, peer, self.patience, self.shutdown.cancel.clone(), slot);
        self.incoming.send(Ok(connection)).await.is_ok()
    }
}

/// Says a thing at most once a second, and how many times there was something to say: a flood must not fill the log's disk.
#[derive(Default)]
struct Seldom(Mutex<(u64, Option<Instant>)>);

impl Seldom {
    fn say(&self, line: impl FnOnce(u64)) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 += 1;
        if state.1.is_none_or(|last| last.elapsed() >= Duration::from_secs(1)) {
            line(state.0);
            *state = (0, Some(Instant::now()));
        }
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
                if !gate.let_in(Way::Unix(stream), peer, slot).await {
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
pub(super) async fn tcp(listener: TcpListener, identity: Identity, handshakes: usize, gate: Gate) {
    let mut handshakes = Handshakes::at_most(handshakes);
    let (refused, given_up) = (Arc::<Seldom>::default(), Seldom::default());
    loop {
        let accepted = tokio::select! {
            () = gate.shutdown.draining.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                // Nobody is given a handshake who could not come in after it.
                if gate.slots.available_permits() == 0 {
                    let _ = gate.slot("mtls");
                    continue;
                }
                let (identity, gate, refused) = (identity.clone(), gate.clone(), Arc::clone(&refused));
                let full = handshakes.begin(async move {
                    match tokio::time::timeout(HANDSHAKE, handshake(stream, &identity)).await {
                        Ok(Ok((way, peer))) => {
                            if let Some(slot) = gate.slot("mtls") {
                                gate.let_in(way, peer, slot).await;
                            }
                        }
                        Ok(Err(error)) => {
                            gate.door.turned_away();
                            refused.say(|times| tracing::info!(%address, %error, times, "TLS handshake refused"));
                        }
                        Err(_) => {
                            gate.door.turned_away();
                            refused.say(|times| tracing::info!(%address, times, "TLS handshake took too long"));
                        }
                    }
                });
                if full {
                    given_up.say(|times| tracing::warn!(times, "too many TLS handshakes: gave up the oldest"));
                }
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
