//! TLS connection to a service, established before any part of a call is sent. In TLS 1.3 the client's handshake ends before the server
//! has verified the client certificate: a rejection arrives in place of the first bytes, and may be lost once a request is sent. So the
//! client waits for the first bytes; until then no request was sent.

use std::{
    io,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, InconsistentKeys, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

use super::{CONNECT, no_connection};
use crate::cli::{
    error::{CliError, Exit},
    key_file::{self, ExpectedKind},
};

/// How long to wait for the service's first bytes. A service that sends nothing first is accepted after this time.
const FIRST_BYTES: Duration = Duration::from_secs(5);

/// The files of a client.
pub(super) struct Files<'a> {
    pub ca: &'a Path,
    pub cert: &'a Path,
    pub key: &'a Path,
}

/// Connects to `host:port`; messages name `address`.
pub(super) async fn connect(address: &str, host: &str, port: u16, files: &Files<'_>) -> Result<TlsConnection, CliError> {
    let (config, chain) = config(files)?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(bare.to_owned())
        .map_err(|_| CliError::usage(format!("address {address:?}: {bare:?} is neither a DNS name nor an IP address")))?;
    let handshake = async {
        let stream = TcpStream::connect((bare, port)).await?;
        stream.set_nodelay(true)?;
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
    };
    let failed = |error: &io::Error| explained(address, bare, error, files, &chain);
    let mut stream = match tokio::time::timeout(CONNECT, handshake).await {
        Ok(connected) => connected.map_err(|error| failed(&error))?,
        Err(_) => return Err(no_connection(address, &"no response within 10 seconds")),
    };
    let mut first = vec![0; 4096];
    match tokio::time::timeout(FIRST_BYTES, stream.read(&mut first)).await {
        Ok(Ok(0)) => Err(failed(&io::ErrorKind::UnexpectedEof.into())),
        Ok(Ok(length)) => {
            first.truncate(length);
            Ok(TlsConnection { first, stream })
        }
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Ok(TlsConnection { first: Vec::new(), stream }),
    }
}

fn config(files: &Files<'_>) -> Result<(ClientConfig, Vec<CertificateDer<'static>>), CliError> {
    let certificates = |path: &Path| {
        let found: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(&key_file::pem(path, ExpectedKind::Certificates)?).collect();
        match found {
            Ok(found) if !found.is_empty() => Ok(found),
            _ => Err(CliError::usage(format!("TLS: {} contains no certificate (PEM)", path.display()))),
        }
    };
    let mut roots = RootCertStore::empty();
    for authority in certificates(files.ca)? {
        roots.add(authority).map_err(|error| CliError::usage(format!("TLS: {}: {error}", files.ca.display())))?;
    }
    let chain = certificates(files.cert)?;
    if let Ok((_, own)) = X509Certificate::from_der(&chain[0])
        && own.version() != X509Version::V3
    {
        let version = own.version().0 + 1;
        return Err(CliError::usage(format!(
            "TLS: {} is X.509 version {version}, and TLS requires version 3",
            files.cert.display()
        ))
        .with_hint("sign it again with extensions: `openssl x509 -req … -extfile FILE` (docs/tls.md)"));
    }
    let pem = key_file::pem(files.key, ExpectedKind::PlainPrivateKey)?;
    let key = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|error| CliError::usage(format!("TLS: {} contains no usable private key: {error}", files.key.display())))?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| CliError::other(format!("TLS: {error}")))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain.clone(), key)
        .map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => CliError::usage(format!(
                "TLS: {} is not the private key of the certificate in {}",
                files.key.display(),
                files.cert.display()
            )),
            error => CliError::usage(format!("TLS: {}: {error}", files.cert.display())),
        })?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok((config, chain))
}

/// Explains a failed handshake: which certificate was rejected by which side, and why.
fn explained(address: &str, host: &str, error: &io::Error, files: &Files<'_>, chain: &[CertificateDer<'_>]) -> CliError {
    let tls = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
    match tls {
        Some(Error::AlertReceived(alert)) => client_rejected(*alert, files.cert, chain),
        Some(Error::InvalidCertificate(cause)) => server_rejected(address, host, cause, files.ca),
        Some(Error::InvalidMessage(_)) => no_connection(address, &"the peer does not use TLS"),
        Some(error) => no_connection(address, error),
        None if error.kind() == io::ErrorKind::UnexpectedEof || error.kind() == io::ErrorKind::ConnectionReset => {
            no_connection(address, &"the service closed the connection before a request was sent").with_hint(
                "nothing was done; a service closes connections above its limits for connections and handshakes, and logs it",
            )
        }
        None => no_connection(address, error),
    }
}

/// The service has rejected the client certificate. An alert contains little information; the certificate file is examined for the cause.
fn client_rejected(alert: AlertDescription, file: &Path, chain: &[CertificateDer<'_>]) -> CliError {
    let (cause, hint) = cause(alert, file, chain);
    CliError::new(
        Exit::Permission,
        format!("the service rejected the client certificate {}: {cause}; nothing was done", file.display()),
    )
    .with_hint(hint)
}

fn cause(alert: AlertDescription, file: &Path, chain: &[CertificateDer<'_>]) -> (String, String) {
    let again = "request a new certificate from the CA that the service's administrator names (docs/tls.md)".to_owned();
    let Some(Ok((_, own))) = chain.first().map(|der| X509Certificate::from_der(der)) else {
        return ("it cannot be read".into(), again);
    };
    let (now, validity) = (jiff::Timestamp::now().as_second(), own.validity());
    let date = |time: &x509_parser::time::ASN1Time| {
        jiff::Timestamp::from_second(time.timestamp()).map_or_else(|_| time.to_string(), |moment| moment.to_string())
    };
    if validity.not_after.timestamp() < now {
        return (format!("it expired on {}", date(&validity.not_after)), again);
    }
    if validity.not_before.timestamp() > now {
        return (format!("it is valid only from {}", date(&validity.not_before)), "check the clock of this machine".into());
    }
    if alert == AlertDescription::CertificateRevoked {
        return ("it was revoked".into(), again);
    }
    if own.extended_key_usage().ok().flatten().is_some_and(|usage| !usage.value.client_auth && !usage.value.any) {
        let hint = "client certificates need extendedKeyUsage=clientAuth (docs/tls.md)";
        return ("it is not for clients: its extendedKeyUsage lacks clientAuth".into(), hint.into());
    }
    match alert {
        AlertDescription::UnknownCA => {
            let alone = if chain.len() == 1 { ", and the file contains no certificate of an intermediate CA" } else { "" };
            let hint = format!(
                "if the issuer is an intermediate CA, append its certificate to {}; otherwise the service's client_ca does not contain it, or \
                 client_crl contains no current list of it",
                file.display()
            );
            (format!("the service has no chain from its issuer ({}) to a trusted CA{alone}", own.issuer()), hint)
        }
        AlertDescription::CertificateExpired => {
            ("it is not valid at the time of the service's clock".into(), "compare the clocks of both machines".into())
        }
        AlertDescription::DecryptError => (
            format!("it is not signed by the CA of that name ({}) that the service trusts", own.issuer()),
            "if the CA has a new key, request a new certificate from it, or have it added to the service's client_ca".into(),
        ),
        AlertDescription::AccessDenied | AlertDescription::CertificateRequired | AlertDescription::BadCertificate => {
            (format!("the service reports {alert:?}"), again)
        }
        other => (format!("the service reports {other:?}"), "see the service's log (\"TLS handshake refused\")".into()),
    }
}

/// The client has rejected the service's certificate.
fn server_rejected(address: &str, host: &str, cause: &CertificateError, ca: &Path) -> CliError {
    use CertificateError as C;
    let (text, hint) = match cause {
        C::UnknownIssuer | C::BadSignature => (
            format!("the service's certificate is not signed by the CA in {}", ca.display()),
            "--tls-ca must name the CA that signed the service's certificate; the service must send intermediate certificates",
        ),
        C::NotValidForName | C::NotValidForNameContext { .. } => (
            format!("the service's certificate is not for the name {host}"),
            "use one of its names: `openssl x509 -noout -ext subjectAltName -in FILE` at the service",
        ),
        C::Expired | C::ExpiredContext { .. } => (
            "the service's certificate has expired".to_owned(),
            "its administrator must renew it; check the clock of this machine too",
        ),
        C::NotValidYet | C::NotValidYetContext { .. } => {
            ("the service's certificate is not valid yet".to_owned(), "check the clock of this machine")
        }
        C::InvalidPurpose | C::InvalidPurposeContext { .. } => (
            "the service's certificate is not for servers".to_owned(),
            "server certificates need extendedKeyUsage=serverAuth (docs/tls.md)",
        ),
        _ => (format!("the service's certificate cannot be verified: {cause:?}"), "docs/tls.md shows how to create certificates"),
    };
    CliError::new(Exit::Unavailable, format!("cannot reach {address}: {text}; nothing was sent")).with_hint(hint)
}

/// A connection whose first bytes have been read already.
pub(super) struct TlsConnection {
    first: Vec<u8>,
    stream: TlsStream<TcpStream>,
}

impl AsyncRead for TlsConnection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = self.first.len().min(buffer.remaining());
        buffer.put_slice(&self.first[..length]);
        self.first.drain(..length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TlsConnection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
