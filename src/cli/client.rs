//! Connects to a running service.

mod tls;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use stationmaster_proto::{
    image_service_client::ImageServiceClient, key_service_client::KeyServiceClient, status_service_client::StatusServiceClient,
    train_service_client::TrainServiceClient,
};
use stationmaster_system::files::explained;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
};
use tonic::{
    Request,
    codegen::http::Uri,
    transport::{Channel, Endpoint},
};

use super::{
    error::{CliError, Exit},
    hints::NO_SERVICE,
};

/// Maximum size of a response: file lists of large trains exceed gRPC's usual 4 MiB.
const MAX_RESPONSE: usize = 64 << 20;

/// The service's address, and how to connect.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ClientArgs {
    /// Address of the service: unix:///path or https://host:port
    #[arg(long, env = "STATIONMASTER_ADDRESS", default_value = "unix:///run/stationmaster/api.sock", help_heading = "Service")]
    address: String,
    /// Deadline of the call, in seconds; no deadline without it
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = "Service")]
    timeout: Option<Duration>,
    /// For https: the CA that signed the service's certificate (PEM)
    #[arg(long, value_name = "FILE", env = "STATIONMASTER_TLS_CA", help_heading = "Service")]
    tls_ca: Option<PathBuf>,
    /// For https: the client certificate (PEM)
    #[arg(long, value_name = "FILE", env = "STATIONMASTER_TLS_CERT", help_heading = "Service")]
    tls_cert: Option<PathBuf>,
    /// For https: the client certificate's private key (PEM)
    #[arg(long, value_name = "FILE", env = "STATIONMASTER_TLS_KEY", help_heading = "Service")]
    tls_key: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.trim_end_matches('s').parse().map_err(|_| "not a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("must be greater than 0".to_owned()),
    }
}

/// Maximum time to connect.
const CONNECT: Duration = Duration::from_secs(10);

impl ClientArgs {
    /// Returns the arguments for a Unix socket.
    pub(super) fn at(address: String, timeout: Duration) -> Self {
        Self { address, timeout: Some(timeout), tls_ca: None, tls_cert: None, tls_key: None }
    }

    async fn channel(&self) -> Result<Channel, CliError> {
        if let Some(path) = self.address.strip_prefix("unix:") {
            let path = Path::new(path.strip_prefix("//").unwrap_or(path));
            return self.channel_over(self.unix(path).await?, Uri::from_static("http://localhost")).await;
        }
        let uri: Uri = self.address.parse().map_err(|error| self.bad_address(&error))?;
        let (Some("https"), Some(host)) = (uri.scheme_str(), uri.host()) else {
            return Err(self.bad_address(&"neither unix:///path nor https://host:port"));
        };
        let (Some(ca), Some(cert), Some(key)) = (&self.tls_ca, &self.tls_cert, &self.tls_key) else {
            return Err(CliError::usage("https needs --tls-ca, --tls-cert and --tls-key")
                .with_hint("or STATIONMASTER_TLS_CA, STATIONMASTER_TLS_CERT and STATIONMASTER_TLS_KEY"));
        };
        let stream = tls::connect(&self.address, host, uri.port_u16().unwrap_or(443), &tls::Files { ca, cert, key }).await?;
        self.channel_over(stream, uri).await
    }

    async fn unix(&self, path: &Path) -> Result<UnixStream, CliError> {
        match tokio::time::timeout(CONNECT, UnixStream::connect(path)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
                let error = explained(path, error);
                Err(CliError::new(Exit::Permission, format!("cannot reach {}: {error}", self.address)).with_hint(
                    "the socket's group may connect: `usermod -aG GROUP USER` (`stat -c %G` shows the socket's group), then log in again",
                ))
            }
            Ok(Err(error)) => Err(no_connection(&self.address, &error)),
            Err(_) => Err(no_connection(&self.address, &"no response within 10 seconds")),
        }
    }

    /// Returns a channel over an established connection. A command uses one connection: a lost one is not replaced.
    async fn channel_over<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        &self,
        stream: S,
        origin: Uri,
    ) -> Result<Channel, CliError> {
        let stream = Mutex::new(Some(TokioIo::new(stream)));
        let connector = tower::service_fn(move |_: Uri| {
            let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
            std::future::ready(stream.ok_or_else(|| io::Error::new(io::ErrorKind::ConnectionReset, "the connection was lost")))
        });
        // TLS, if used, is part of the stream.
        let endpoint = Endpoint::from_static("http://localhost").origin(origin).connect_timeout(CONNECT);
        endpoint.connect_with_connector(connector).await.map_err(|error| {
            let mut innermost: &dyn std::error::Error = &error;
            while let Some(source) = innermost.source() {
                innermost = source;
            }
            no_connection(&self.address, &innermost)
        })
    }

    fn bad_address(&self, error: &dyn std::fmt::Display) -> CliError {
        CliError::usage(format!("address {:?}: {error}", self.address)).with_hint(NO_SERVICE)
    }

    /// Returns a request with the deadline.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(timeout) = self.timeout {
            request.set_timeout(timeout);
        }
        request
    }

    pub(super) async fn keys(&self) -> Result<KeyServiceClient<Channel>, CliError> {
        Ok(KeyServiceClient::new(self.channel().await?).max_decoding_message_size(MAX_RESPONSE))
    }

    pub(super) async fn images(&self) -> Result<ImageServiceClient<Channel>, CliError> {
        Ok(ImageServiceClient::new(self.channel().await?).max_decoding_message_size(MAX_RESPONSE))
    }

    pub(super) async fn trains(&self) -> Result<TrainServiceClient<Channel>, CliError> {
        Ok(TrainServiceClient::new(self.channel().await?).max_decoding_message_size(MAX_RESPONSE))
    }

    pub(super) async fn status(&self) -> Result<StatusServiceClient<Channel>, CliError> {
        Ok(StatusServiceClient::new(self.channel().await?))
    }

    pub(super) async fn health(&self) -> Result<tonic_health::pb::health_client::HealthClient<Channel>, CliError> {
        Ok(tonic_health::pb::health_client::HealthClient::new(self.channel().await?))
    }
}

fn no_connection(address: &str, error: &dyn std::fmt::Display) -> CliError {
    CliError::new(Exit::Unavailable, format!("cannot reach {address}: {error}")).with_hint(NO_SERVICE)
}

/// Runs a client command. Ctrl-C drops the call, which cancels it at the service.
pub(super) fn call<T>(command: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::other(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        tokio::select! {
            result = command => return result,
            _ = tokio::signal::ctrl_c() => {}
        }
        // The dropped call's cancellation is a frame that must still be sent.
        tokio::time::sleep(Duration::from_millis(150)).await;
        Err(CliError::new(Exit::Interrupted, "interrupted").with_hint("the outcome is unknown; repeat the same call to learn it"))
    })
}
