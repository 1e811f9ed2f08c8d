//! The server's TLS identity: TLS 1.3 only, a client certificate required, files read again when they change.

use std::{fs, path::Path, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::{ServerError, signals};
use crate::config::Tcp;

const LOOK_EVERY: Duration = Duration::from_secs(3);

/// The identity in use; the next connection gets what is current then.
#[derive(Clone)]
pub struct Identity {
    files: Tcp,
    current: Arc<ArcSwap<ServerConfig>>,
}

impl Identity {
    /// Reads the files.
    ///
    /// # Errors
    /// When they cannot be read or used.
    pub fn load(files: &Tcp) -> Result<Self, ServerError> {
        let config = server_config(files)?;
        Ok(Self { files: files.clone(), current: Arc::new(ArcSwap::from_pointee(config)) })
    }

    pub(super) fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Reads the files again on SIGHUP and when their content has changed. What cannot be used is logged, and the old stays.
    pub(super) async fn keep_fresh(self, stop: CancellationToken) {
        let mut hangup = signals::hangup();
        let mut seen = self.content();
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => return,
                () = signals::next(&mut hangup) => true,
                () = tokio::time::sleep(LOOK_EVERY) => false,
            };
            let now = self.content();
            if asked || now != seen {
                self.reload();
                seen = now;
            }
        }
    }

    fn reload(&self) {
        match server_config(&self.files) {
            Ok(config) => {
                self.current.store(Arc::new(config));
                tracing::info!("TLS certificates read again");
            }
            Err(error) => {
                tracing::error!(%error, "TLS certificates could not be read again: the old ones stay")
            }
        }
    }

    /// A digest of the files' content: modification times miss what is written twice within their grain. The key is only
    /// hashed.
    fn content(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for file in [&self.files.cert, &self.files.key, &self.files.client_ca] {
            let bytes = fs::read(file).map(zeroize::Zeroizing::new).unwrap_or_default();
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(&*bytes);
        }
        hash.finalize().into()
    }
}

fn server_config(files: &Tcp) -> Result<ServerConfig, ServerError> {
    let provider = Arc::new(ring::default_provider());
    let mut authorities = RootCertStore::empty();
    for certificate in certificates(&files.client_ca)? {
        authorities.add(certificate).map_err(|error| flaw(&files.client_ca, &error))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(authorities.into(), provider.clone())
        .build()
        .map_err(|error| flaw(&files.client_ca, &error))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| flaw(&files.key, &error))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| ServerError::Tls(error.to_string()))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&files.cert)?, key)
        .map_err(|error| flaw(&files.cert, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, ServerError> {
    let certificates: Vec<_> =
        CertificateDer::pem_file_iter(file).and_then(Iterator::collect).map_err(|error| flaw(file, &error))?;
    if certificates.is_empty() {
        return Err(flaw(file, &"holds no certificate"));
    }
    Ok(certificates)
}

fn flaw(file: &Path, error: &dyn std::fmt::Display) -> ServerError {
    ServerError::Tls(format!("{}: {error}", file.display()))
}
