//! The gRPC server: listeners, TLS, limits, health, reload and graceful shutdown.
//!
//! [`run`] is its parts cycle: bind, serve, report healthy, wait for the shutdown request, drain, end.

mod accept;
pub mod access_log;
mod authority;
pub mod bootstrap;
mod checkpoints;
mod connection;
mod connections;
pub(crate) mod disk;
mod error;
pub(crate) mod fitness;
mod handshakes;
pub mod health;
pub mod idle_timeout;
pub mod lock;
pub mod log;
pub mod log_throttle;
mod manager;
pub mod open_station;
pub mod open_tokens;
pub mod peer_layer;
pub mod request_layer;
mod signals;
pub mod socket;
pub mod state_directory;
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
use stationmaster_proto as pb;
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
    protocol::TlsKeyHolder,
    service::standing::Board,
};

/// Shutdown signal in phases, for background tasks.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Cancelled when a signal requests the shutdown.
    pub asked: CancellationToken,
    /// Cancelled when no new work is accepted.
    pub draining: CancellationToken,
    /// Cancelled when running work must stop: steps unwind through their own clean-up.
    pub cancel: CancellationToken,
}

/// The addresses that the service listens on.
#[derive(Debug, Clone, Default)]
pub struct Addresses {
    /// The Unix socket.
    pub unix: Option<PathBuf>,
    /// The TCP address, with the actual port.
    pub tcp: Option<SocketAddr>,
}

impl Addresses {
    /// Returns the addresses as a client names them.
    #[must_use]
    pub fn shown(&self) -> Vec<String> {
        let unix = self.unix.iter().map(|path| format!("unix://{}", path.display()));
        unix.chain(self.tcp.iter().map(|address| format!("https://{address}"))).collect()
    }
}

/// The parts that [`run`] serves.
pub struct ServerParts {
    /// The services of `stationmaster.v1`, from [`assemble`].
    pub services: Routes,
    /// The probes behind health.
    pub probes: Probes,
    /// The connection to the service manager.
    pub manager: Manager,
    /// The addresses to listen on.
    pub listen: Listen,
    /// The key of the service's TLS certificate, if it is in a token.
    pub tls_key: Option<TlsKeyHolder>,
    /// The limits on connections and requests.
    pub limits: Limits,
    /// The authorisation of calls.
    pub authorizer: Arc<Authorizer>,
    /// The shutdown signal, shared with the services.
    pub shutdown: Shutdown,
}

/// Serves until the shutdown is requested, then drains. `ready` is called once, when health reports SERVING for the first time.
///
/// # Errors
/// When a listener cannot be opened, or the transport fails.
pub async fn run(outside: ServerParts, ready: impl FnOnce(&Addresses) + Send + 'static) -> Result<(), ServerError> {
    let ServerParts { services, probes, manager, listen, tls_key, limits, authorizer, shutdown } = outside;
    let (health, reporter) = health::service().await;
    let board = probes.board();
    let services = services.add_service(health);
    let services = if listen.reflection { with_reflection(services)? } else { services };

    let (incoming, connections) = mpsc::channel(64);
    let (addresses, _socket, identity) = listen_on((&listen, tls_key), &limits, &authorizer, || {
        accept::Acceptor::new(incoming.clone(), &limits, Arc::clone(&authorizer), shutdown.clone())
    })
    .await?;
    drop(incoming);
    // Calls over the Unix socket go on without TCP, so no single service depends on it.
    let probes = match identity {
        Some(identity) => probes.with_warnings("tls", &[], health::Schedule::Periodic, move || {
            let checked = identity.checked();
            async move { checked }
        }),
        None => probes,
    };

    let router = router(services, (&limits, board), authorizer, &shutdown);
    let draining = shutdown.draining.clone();
    // In a separate task: work in main's `block_on` costs several times the processor time.
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
    (listen, tls_key): (&Listen, Option<TlsKeyHolder>),
    limits: &Limits,
    authorizer: &Arc<Authorizer>,
    gate: impl Fn() -> accept::Acceptor,
) -> Result<(Addresses, Option<socket::UnixSocket>, Option<tls::Identity>), ServerError> {
    let mut addresses = Addresses::default();
    let (mut held, mut secured) = (None, None);
    if let Some(path) = &listen.unix {
        let (socket, listener) = socket::UnixSocket::bind(path, listen.unix_mode, listen.unix_group.as_deref())?;
        tokio::spawn(accept::unix(listener, gate()));
        addresses.unix = Some(path.clone());
        held = Some(socket);
    }
    if let Some(tcp) = &listen.tcp {
        let identity = tls::Identity::load(tcp, tls_key)?;
        identity.record(authorizer).await?;
        let listener = tokio::net::TcpListener::bind(tcp.address)
            .await
            .map_err(|error| ServerError::io(format!("cannot listen on {}", tcp.address), error))?;
        addresses.tcp = Some(listener.local_addr().map_err(|error| ServerError::io("cannot read the port", error))?);
        let gate = gate();
        tokio::spawn(identity.clone().keep_fresh(Arc::clone(authorizer), gate.draining()));
        tokio::spawn(accept::tcp(listener, identity.clone(), limits.handshakes, gate));
        secured = Some(identity);
    }
    Ok((addresses, held, secured))
}

/// Adds both versions of reflection, over this project's services, health and reflection itself.
fn with_reflection(services: Routes) -> Result<Routes, ServerError> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // Each version registers its own descriptors only, and would not list the other.
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
            .include_reflection_service(false)
    };
    let flaw = |error: tonic_reflection::server::Error| ServerError::Setup(format!("reflection: {error}"));
    Ok(services.add_service(builder().build_v1().map_err(flaw)?).add_service(builder().build_v1alpha().map_err(flaw)?))
}

type Layers = Stack<request_layer::RequestLayer, Stack<peer_layer::PeerLayer, Identity>>;

fn router(
    services: Routes,
    (limits, board): (&Limits, Board),
    authorizer: Arc<Authorizer>,
    shutdown: &Shutdown,
) -> Router<Layers> {
    transport::Server::builder()
        .max_concurrent_streams(limits.streams)
        .http2_max_pending_accept_reset_streams(Some(20))
        .http2_max_local_error_reset_streams(Some(128))
        .http2_max_header_list_size(16 * 1024)
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .max_connection_age(Duration::from_secs(3600))
        .layer(peer_layer::PeerLayer)
        .layer(request_layer::RequestLayer::new(limits, authorizer, board, shutdown.clone()))
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
        // A second shutdown request.
        () = shutdown.cancel.cancelled() => false,
        () = tokio::time::sleep(grace) => false,
    };
    if !in_time {
        tracing::warn!("calls still run after the grace period: cancelling them");
        shutdown.cancel.cancel();
        // Connections break on cancel, together with their requests; steps need a moment to clean up.
        let _ = tokio::time::timeout(Duration::from_secs(5), serving).await;
    }
    shutdown.cancel.cancel();
    tracing::info!(after_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX), "drained");
}
