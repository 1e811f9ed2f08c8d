//! TLS connection to a service, established before anything of a call is sent. In TLS 1.3 the client's handshake ends before the server
//! has verified the client certificate: a rejection arrives in place of the first bytes, and once a request is under way, it may be lost.
//! So the client waits for the first bytes, and until then nothing was done.

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
    key_file::{self, Wanted},
};

/// How long a service may take for its first bytes. One that speaks only when it is spoken to is taken as it is after that.
const FIRST_BYTES: Duration = Duration::from_secs(5);

/// The files of a client.
pub(super) struct Files<'a> {
    pub ca: &'a Path,
    pub cert: &'a Path,
    pub key: &'a Path,
}

/// Connects to `host:port`; `address` is what messages call it.
pub(super) async fn connect(address: &str, host: &str, port: u16, files: &Files<'_>) -> Result<Begun, CliError> {
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
        Err(_) => return Err(no_connection(address, &"no answer within 10 seconds")),
    };
    let mut first = vec![0; 4096];
    match tokio::time::timeout(FIRST_BYTES, stream.read(&mut first)).await {
        Ok(Ok(0)) => Err(failed(&io::ErrorKind::UnexpectedEof.into())),
        Ok(Ok(length)) => {
            first.truncate(length);
            Ok(Begun { first, stream })
        }
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Ok(Begun { first: Vec::new(), stream }),
    }
}

fn config(files: &Files<'_>) -> Result<(ClientConfig, Vec<CertificateDer<'static>>), CliError> {
    let certificates = |path: &Path| {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&key_file::pem(path, Wanted::Certificates)?).collect();
        match found {
            Ok(found) if !found.is_empty() => Ok(found),
            _ => Err(CliError::usage(format!("TLS: {} holds no certificate (PEM)", path.display()))),
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
            "TLS: {} is X.509 version {version}, and TLS takes version 3",
            files.cert.display()
        ))
        .with_hint("sign it again with extensions: `openssl x509 -req … -extfile FILE` (docs/tls.md)"));
    }
    let pem = key_file::pem(files.key, Wanted::PlainPrivateKey)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
        CliError::usage(format!("TLS: {} holds no private key that can be read: {error}", files.key.display()))
    })?;
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

/// What a failed handshake means: whose certificate was refused by whom, and why.
fn explained(address: &str, host: &str, error: &io::Error, files: &Files<'_>, chain: &[CertificateDer<'_>]) -> CliError {
    let tls = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
    match tls {
        Some(Error::AlertReceived(alert)) => refused(*alert, files.cert, chain),
        Some(Error::InvalidCertificate(cause)) => not_believed(address, host, cause, files.ca),
        Some(Error::InvalidMessage(_)) => no_connection(address, &"it does not speak TLS there"),
        Some(error) => no_connection(address, error),
        None if error.kind() == io::ErrorKind::UnexpectedEof || error.kind() == io::ErrorKind::ConnectionReset => no_connection(
            address,
            &"it closed the connection before anything was asked",
        )
        .with_hint(
            "nothing was done; a service closes what is over its limits for connections and handshakes, and says so in its log",
        ),
        None => no_connection(address, error),
    }
}

/// The service has refused our certificate. An alert says little; what our own file shows says the rest.
fn refused(alert: AlertDescription, file: &Path, chain: &[CertificateDer<'_>]) -> CliError {
    let (cause, hint) = cause(alert, file, chain);
    CliError::new(Exit::Permission, format!("the service refused our certificate {}: {cause}; nothing was done", file.display()))
        .with_hint(hint)
}

fn cause(alert: AlertDescription, file: &Path, chain: &[CertificateDer<'_>]) -> (String, String) {
    let again = "get a new certificate from the authority that the service's administrator names (docs/tls.md)".to_owned();
    let Some(Ok((_, own))) = chain.first().map(|der| X509Certificate::from_der(der)) else {
        return ("it cannot be read".into(), again);
    };
    let (now, validity) = (jiff::Timestamp::now().as_second(), own.validity());
    let date = |time: &x509_parser::time::ASN1Time| {
        jiff::Timestamp::from_second(time.timestamp()).map_or_else(|_| time.to_string(), |moment| moment.to_string())
    };
    if validity.not_after.timestamp() < now {
        return (format!("it ended on {}", date(&validity.not_after)), again);
    }
    if validity.not_before.timestamp() > now {
        return (format!("it holds from {} on only", date(&validity.not_before)), "is the clock right?".into());
    }
    if alert == AlertDescription::CertificateRevoked {
        return ("it is revoked".into(), again);
    }
    if own.extended_key_usage().ok().flatten().is_some_and(|usage| !usage.value.client_auth && !usage.value.any) {
        let hint = "a client's certificate is signed with extendedKeyUsage=clientAuth (docs/tls.md)";
        return ("it is not for clients: its extendedKeyUsage lacks clientAuth".into(), hint.into());
    }
    match alert {
        AlertDescription::UnknownCA => {
            let alone = if chain.len() == 1 { ", and the file holds no certificate of an intermediate authority" } else { "" };
            let hint = format!(
                "if that is an intermediate authority, append its certificate to {}; else the service's client_ca does not name it, or its \
                 client_crl has no list of it that has not ended",
                file.display()
            );
            (format!("the service knows no way from its issuer ({}) to an authority that it believes{alone}", own.issuer()), hint)
        }
        AlertDescription::CertificateExpired => {
            ("by the service's clock its time is not now".into(), "compare the clocks of both machines".into())
        }
        AlertDescription::DecryptError => (
            format!("it is not signed by the authority of that name ({}) that the service knows", own.issuer()),
            "was the authority made anew? Get a new certificate from it, or have the service's client_ca name it".into(),
        ),
        AlertDescription::AccessDenied | AlertDescription::CertificateRequired | AlertDescription::BadCertificate => {
            (format!("the service says {alert:?}"), again)
        }
        other => (format!("the service says {other:?}"), "the service's log says more (\"TLS handshake refused\")".into()),
    }
}

/// We have refused the service's certificate.
fn not_believed(address: &str, host: &str, cause: &CertificateError, ca: &Path) -> CliError {
    use CertificateError as C;
    let (text, hint) = match cause {
        C::UnknownIssuer | C::BadSignature => (
            format!("the service's certificate is not of the authority in {}", ca.display()),
            "--tls-ca names the authority that signed the service's certificate, and the service sends intermediate ones along",
        ),
        C::NotValidForName | C::NotValidForNameContext { .. } => (
            format!("the service's certificate is not for the name {host}"),
            "use a name that it has: `openssl x509 -noout -ext subjectAltName -in FILE` at the service",
        ),
        C::Expired | C::ExpiredContext { .. } => {
            ("the service's certificate has ended".to_owned(), "its administrator renews it; is this machine's clock right?")
        }
        C::NotValidYet | C::NotValidYetContext { .. } => {
            ("the service's certificate does not hold yet".to_owned(), "is this machine's clock right?")
        }
        C::InvalidPurpose | C::InvalidPurposeContext { .. } => (
            "the service's certificate is not for servers".to_owned(),
            "its administrator has it signed with extendedKeyUsage=serverAuth (docs/tls.md)",
        ),
        _ => (format!("the service's certificate cannot be believed: {cause:?}"), "docs/tls.md shows how certificates are made"),
    };
    CliError::new(Exit::Unavailable, format!("cannot reach {address}: {text}; nothing was sent")).with_hint(hint)
}

/// A connection whose first bytes have been read already.
pub(super) struct Begun {
    first: Vec<u8>,
    stream: TlsStream<TcpStream>,
}

impl AsyncRead for Begun {
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

impl AsyncWrite for Begun {
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
