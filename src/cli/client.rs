//! The way to a running service.

use std::{fs, path::PathBuf, time::Duration};

use tonic::{
    Request,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use super::{
    error::{CliError, Exit},
    hints::NO_SERVICE,
};
use crate::pb::{
    image_service_client::ImageServiceClient, key_service_client::KeyServiceClient, status_service_client::StatusServiceClient,
    train_service_client::TrainServiceClient,
};

/// Lists of a large train's files are longer than gRPC's usual 4 MiB.
const LARGEST_ANSWER: usize = 64 << 20;

/// Where the service is.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ClientArgs {
    /// The service: unix:///path or https://host:port
    #[arg(long, env = "STATIONMASTER_ADDRESS", default_value = "unix:///run/stationmaster/api.sock", help_heading = "Service")]
    address: String,
    /// Seconds until the call must have ended; without it, it may take its time
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = "Service")]
    timeout: Option<Duration>,
    /// For https: the authority that signed the service's certificate (PEM)
    #[arg(long, value_name = "FILE", env = "STATIONMASTER_TLS_CA", help_heading = "Service")]
    tls_ca: Option<PathBuf>,
    /// For https: our certificate (PEM)
    #[arg(long, value_name = "FILE", env = "STATIONMASTER_TLS_CERT", help_heading = "Service")]
    tls_cert: Option<PathBuf>,
    /// For https: our certificate's key (PEM)
    #[arg(long, value_name = "FILE", env = "STATIONMASTER_TLS_KEY", help_heading = "Service")]
    tls_key: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.trim_end_matches('s').parse().map_err(|_| "not a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("must be more than nothing".to_owned()),
    }
}

impl ClientArgs {
    async fn channel(&self) -> Result<Channel, CliError> {
        let endpoint = if let Some(path) = self.address.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            Endpoint::from_shared(format!("unix:{path}")).map_err(|error| self.bad_address(&error))?
        } else if self.address.starts_with("https://") {
            let endpoint = Endpoint::from_shared(self.address.clone()).map_err(|error| self.bad_address(&error))?;
            endpoint.tls_config(self.tls()?).map_err(|error| CliError::usage(format!("TLS: {error}")))?
        } else {
            return Err(self.bad_address(&"neither unix:///path nor https://host:port"));
        };
        let endpoint = endpoint.connect_timeout(Duration::from_secs(10)).tcp_nodelay(true);
        endpoint.connect().await.map_err(|error| self.no_connection(&error))
    }

    fn bad_address(&self, error: &dyn std::fmt::Display) -> CliError {
        CliError::usage(format!("address {:?}: {error}", self.address)).with_hint(NO_SERVICE)
    }

    fn no_connection(&self, error: &dyn std::error::Error) -> CliError {
        let mut text = format!("cannot reach {}", self.address);
        let mut cause = error.source();
        while let Some(error) = cause {
            // Only the innermost says what happened; the others repeat it.
            if error.source().is_none() {
                text += &format!(": {error}");
            }
            cause = error.source();
        }
        CliError::new(Exit::Unavailable, text).with_hint(NO_SERVICE)
    }

    fn tls(&self) -> Result<ClientTlsConfig, CliError> {
        let (Some(ca), Some(cert), Some(key)) = (&self.tls_ca, &self.tls_cert, &self.tls_key) else {
            return Err(CliError::usage("https needs --tls-ca, --tls-cert and --tls-key")
                .with_hint("or STATIONMASTER_TLS_CA, STATIONMASTER_TLS_CERT and STATIONMASTER_TLS_KEY"));
        };
        let read = |path: &PathBuf| fs::read(path).map_err(|error| CliError::file("read", path, &error));
        Ok(ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read(ca)?))
            .identity(Identity::from_pem(read(cert)?, read(key)?)))
    }

    /// A request that carries our deadline.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(timeout) = self.timeout {
            request.set_timeout(timeout);
        }
        request
    }

    pub(super) async fn keys(&self) -> Result<KeyServiceClient<Channel>, CliError> {
        Ok(KeyServiceClient::new(self.channel().await?).max_decoding_message_size(LARGEST_ANSWER))
    }

    pub(super) async fn images(&self) -> Result<ImageServiceClient<Channel>, CliError> {
        Ok(ImageServiceClient::new(self.channel().await?).max_decoding_message_size(LARGEST_ANSWER))
    }

    pub(super) async fn trains(&self) -> Result<TrainServiceClient<Channel>, CliError> {
        Ok(TrainServiceClient::new(self.channel().await?).max_decoding_message_size(LARGEST_ANSWER))
    }

    pub(super) async fn status(&self) -> Result<StatusServiceClient<Channel>, CliError> {
        Ok(StatusServiceClient::new(self.channel().await?))
    }

    pub(super) async fn health(&self) -> Result<tonic_health::pb::health_client::HealthClient<Channel>, CliError> {
        Ok(tonic_health::pb::health_client::HealthClient::new(self.channel().await?))
    }
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
        Err(CliError::new(Exit::Interrupted, "interrupted").with_hint("it may have been done: the same call again tells"))
    })
}
