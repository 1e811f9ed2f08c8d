//! The service's outside: listeners, TLS, limits, health, reload, drain.
//!
//! [`run`] is its life: bind, serve, turn healthy, wait for the end to be asked for, drain, end.

mod accept;
pub mod access_log;
mod authority;
pub mod bootstrap;
mod checkpoints;
mod connection;
mod connections;
mod disk;
mod error;
mod fitness;
mod handshakes;
pub mod health;
pub mod idle_timeout;
pub mod lock;
pub mod log;
pub mod log_throttle;
mod manager;
pub mod open_station;
pub mod peer_layer;
pub mod request_layer;
mod signals;
pub mod socket;
pub mod tls;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

pub use error::{ServerError, TlsFault};
pub use health::Probes;
pub use manager::Manager;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{
    service::Routes,
    transport::{self, server::Router},
};
use tower::layer::util::{Identity, Stack};

pub use self::request_layer::Authorizer;
use crate::{
    config::{Limits, Listen},
    pb,
    service::standing::Board,
};

/// The moments of an ending, for what works in the background.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Cancelled when the end is asked for, by a signal.
    pub asked: CancellationToken,
    /// Cancelled when no new work is taken.
    pub draining: CancellationToken,
    /// Cancelled when running work must stop: steps unwind through their own clean-up.
    pub cancel: CancellationToken,
}

/// Where the service listens once it does.
#[derive(Debug, Clone, Default)]
pub struct Addresses {
    /// The Unix socket.
    pub unix: Option<PathBuf>,
    /// The TCP address with the port that was given.
    pub tcp: Option<SocketAddr>,
}

impl Addresses {
    /// As a client names them.
    #[must_use]
    pub fn shown(&self) -> Vec<String> {
        let unix = self.unix.iter().map(|path| format!("unix://{}", path.display()));
        unix.chain(self.tcp.iter().map(|address| format!("https://{address}"))).collect()
    }
}

/// What [`run`] serves.
pub struct ServerParts {
    /// The services of `stationmaster.v1`, from [`assemble`].
    pub services: Routes,
    /// What health asks.
    pub probes: Probes,
    /// What the service manager is told through.
    pub manager: Manager,
    /// Where to listen.
    pub listen: Listen,
    /// What to take.
    pub limits: Limits,
    /// Who may come in.
    pub door: Arc<Authorizer>,
    /// The ending, shared with the services.
    pub shutdown: Shutdown,
}

/// Serves until the end is asked for, then drains. `ready` is called once, when health has turned SERVING for the first time.
///
/// # Errors
/// When a listener cannot be had, or the transport fails.
pub async fn run(outside: ServerParts, ready: impl FnOnce(&Addresses) + Send + 'static) -> Result<(), ServerError> {
    let ServerParts { services, probes, manager, listen, limits, door, shutdown } = outside;
    let (health, reporter) = health::service().await;
    let board = probes.board();
    let services = services.add_service(health);
    let services = if listen.reflection { with_reflection(services)? } else { services };

    let (incoming, connections) = mpsc::channel(64);
    let (addresses, _socket) = listen_on(&listen, &limits, &door, || {
        accept::Acceptor::new(incoming.clone(), &limits, Arc::clone(&door), shutdown.clone())
    })
    .await?;
    drop(incoming);

    let router = router(services, (&limits, board), door, &shutdown);
    let draining = shutdown.draining.clone();
    // In a task of its own: work in main's block_on costs several times the processor time.
    let mut serving =
        tokio::spawn(router.serve_with_incoming_shutdown(tokio_stream::wrappers::ReceiverStream::new(connections), async move {
            draining.cancelled().await
        }));
    for address in addresses.shown() {
        tracing::info!(address, "listening");
    }
    manager.keep_alive();
    let watching = health::watch(reporter.clone(), probes, manager, shutdown.draining.clone(), move || {
        ready(&addresses);
    });
    let watching = tokio::spawn(watching);

    tokio::select! {
        () = shutdown.asked.cancelled() => {}
        () = shutdown.draining.cancelled() => {}
        ended = &mut serving => return ended.unwrap_or(Ok(())).map_err(ServerError::from),
    }
    drain(&shutdown, &reporter, serving, Duration::from_secs(limits.drain_s)).await;
    watching.abort();
    Ok(())
}

async fn listen_on(
    listen: &Listen,
    limits: &Limits,
    door: &Arc<Authorizer>,
    gate: impl Fn() -> accept::Acceptor,
) -> Result<(Addresses, Option<socket::UnixSocket>), ServerError> {
    let mut addresses = Addresses::default();
    let mut held = None;
    if let Some(path) = &listen.unix {
        let (socket, listener) = socket::UnixSocket::bind(path, listen.unix_mode, listen.unix_group.as_deref())?;
        tokio::spawn(accept::unix(listener, gate()));
        addresses.unix = Some(path.clone());
        held = Some(socket);
    }
    if let Some(tcp) = &listen.tcp {
        let identity = tls::Identity::load(tcp)?;
        identity.record(door).await?;
        let listener = tokio::net::TcpListener::bind(tcp.address)
            .await
            .map_err(|error| ServerError::io(format!("cannot listen on {}", tcp.address), error))?;
        addresses.tcp = Some(listener.local_addr().map_err(|error| ServerError::io("cannot read the port", error))?);
        let gate = gate();
        tokio::spawn(identity.clone().keep_fresh(Arc::clone(door), gate.draining()));
        tokio::spawn(accept::tcp(listener, identity, limits.handshakes, gate));
    }
    Ok((addresses, held))
}

/// Both versions of reflection, over our services, health and itself.
fn with_reflection(services: Routes) -> Result<Routes, ServerError> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // Each version adds its own descriptors only, and would not list the other.
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
            .include_reflection_service(false)
    };
    let flaw = |error: tonic_reflection::server::Error| ServerError::Setup(format!("reflection: {error}"));
    Ok(services.add_service(builder().build_v1().map_err(flaw)?).add_service(builder().build_v1alpha().map_err(flaw)?))
}

type Layers = Stack<request_layer::GateLayer, Stack<peer_layer::PeerLayer, Identity>>;

fn router(services: Routes, (limits, board): (&Limits, Board), door: Arc<Authorizer>, shutdown: &Shutdown) -> Router<Layers> {
    transport::Server::builder()
        .max_concurrent_streams(limits.streams)
        .http2_max_pending_accept_reset_streams(Some(20))
        .http2_max_local_error_reset_streams(Some(128))
        .http2_max_header_list_size(16 * 1024)
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .max_connection_age(Duration::from_secs(3600))
        .layer(peer_layer::PeerLayer)
        .layer(request_layer::GateLayer::new(limits, door, board, shutdown.clone()))
        .add_routes(services)
}

async fn drain(
    shutdown: &Shutdown,
    reporter: &tonic_health::server::HealthReporter,
    mut serving: tokio::task::JoinHandle<Result<(), transport::Error>>,
    grace: Duration,
) {
    let begun = Instant::now();
    tracing::info!(grace_s = grace.as_secs(), "draining");
    health::set_all(reporter, tonic_health::ServingStatus::NotServing).await;
    shutdown.draining.cancel();
    let in_time = tokio::select! {
        _ = &mut serving => true,
        // Asked a second time to end.
        () = shutdown.cancel.cancelled() => false,
        () = tokio::time::sleep(grace) => false,
    };
    if !in_time {
        tracing::warn!("calls still run after the grace period: cancelling them");
        shutdown.cancel.cancel();
        // Connections break on cancel, and with them what they carried; steps need a moment to clean up behind themselves.
        let _ = tokio::time::timeout(Duration::from_secs(5), serving).await;
    }
    shutdown.cancel.cancel();
    tracing::info!(after_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX), "drained");
}
