//! Errors in the service's own TLS files, with messages that name the file and the remedy.

use std::{io, path::Path};

use rustls::{
    Error, InconsistentKeys,
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem::PemObject},
};
use stationmaster_keystore::KeystoreError;
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

use crate::{
    audit::KeyRef,
    key_file::{self, ExpectedKind, WrongKind},
    server::TlsFault,
};

pub(super) fn flaw(file: &Path, error: impl std::fmt::Display) -> TlsFault {
    TlsFault { what: format!("{}: {error}", file.display()), kind: io::ErrorKind::InvalidData, hint: None }
}

/// Refuses a file of another format than `wanted`, with the command that converts it.
fn recognised(file: &Path, bytes: &[u8], wanted: ExpectedKind) -> Result<(), TlsFault> {
    match key_file::check_kind(file, bytes, wanted) {
        None => Ok(()),
        Some(WrongKind { message, hint }) => Err(TlsFault { what: message, kind: io::ErrorKind::InvalidData, hint: Some(hint) }),
    }
}

/// Returns the certificates of a PEM file, at least one.
pub(super) fn certificates(file: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    recognised(file, bytes, ExpectedKind::Certificates)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| flaw(file, format!("its PEM cannot be read: {error}")))?;
    if found.is_empty() { Err(flaw(file, "it contains no certificate (PEM)")) } else { Ok(found) }
}

/// Returns the private key of a PEM file.
pub(super) fn private_key(file: &Path, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, TlsFault> {
    recognised(file, bytes, ExpectedKind::PlainPrivateKey)?;
    PrivateKeyDer::from_pem_slice(bytes).map_err(|error| flaw(file, format!("it contains no private key (PEM): {error}")))
}

/// Returns the revocation lists of a file: PEM, or one in DER.
pub(super) fn revocation_lists(file: &Path, bytes: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsFault> {
    recognised(file, bytes, ExpectedKind::RevocationLists)?;
    if bytes.first() == Some(&0x30) {
        return Ok(vec![CertificateRevocationListDer::from(bytes.to_vec())]);
    }
    let found: Vec<_> = CertificateRevocationListDer::pem_slice_iter(bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| flaw(file, format!("its PEM cannot be read: {error}")))?;
    if found.is_empty() { Err(flaw(file, "it contains no revocation list (BEGIN X509 CRL, or DER)")) } else { Ok(found) }
}

/// Refuses a certificate of the service that TLS 1.3 does not support; the library's error would describe it as a peer's.
pub(super) fn check(file: &Path, certificate: &CertificateDer<'_>) -> Result<(), TlsFault> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| flaw(file, format!("no certificate: {error}")))?;
    if parsed.version() != X509Version::V3 {
        let version = parsed.version().0 + 1;
        return Err(flaw(
            file,
            format!(
                "the service's own certificate is X.509 version {version}; TLS requires version 3, which needs extensions: sign \
                 it again with `openssl x509 -req … -extfile FILE` (docs/tls.md)"
            ),
        ));
    }
    Ok(())
}

/// Returns the fault for the library's error about certificate and key.
pub(super) fn not_taken(certificate: &Path, key: &Path, error: &Error) -> TlsFault {
    match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            flaw(key, format!("it is not the private key of the certificate in {}", certificate.display()))
        }
        Error::InvalidCertificate(cause) => flaw(certificate, format!("the service's own certificate cannot be used: {cause:?}")),
        error => flaw(certificate, error),
    }
}

/// Returns the fault of a certificate that does not belong to the key in the token.
pub(super) fn not_of_token(certificate: &Path, key: &KeyRef, error: &Error) -> TlsFault {
    let Error::InconsistentKeys(InconsistentKeys::KeyMismatch) = error else {
        return flaw(certificate, format!("the service's own certificate cannot be used: {error}"));
    };
    let KeyRef { label, fingerprint, .. } = key;
    let what = format!("it is not the certificate of the key {label:?} in the token, which has the fingerprint {fingerprint}");
    let hint = format!("have a certificate made for the public key that `key export {label} --config FILE` prints (docs/tls.md)");
    TlsFault { hint: Some(hint), ..flaw(certificate, what) }
}

/// Returns the fault for a key in a token that cannot be used.
pub(super) fn unusable_in_token(label: &str, error: &KeystoreError) -> TlsFault {
    let what = format!("the key {label:?} of [listen.tcp] cannot be used: {error}");
    TlsFault { what, kind: io::ErrorKind::NotFound, hint: error.hint() }
}

/// Returns the fault for a key in a token that can make no signature of TLS 1.3.
pub(super) fn no_scheme(label: &str) -> TlsFault {
    let what = format!("the key {label:?} of [listen.tcp] can make no signature of TLS 1.3 on this token");
    let hint = "`key show LABEL --config FILE` lists what it can do; generate another one: `key generate LABEL --purpose tls`";
    TlsFault { what, kind: io::ErrorKind::InvalidData, hint: Some(hint.to_owned()) }
}

/// Returns the properties of the service's certificate that clients may refuse, except for its dates.
pub(super) fn weaknesses(certificate: &X509Certificate<'_>) -> Vec<&'static str> {
    let mut found = Vec::new();
    if !certificate.subject_alternative_name().is_ok_and(|names| names.is_some()) {
        found.push("it names no host in its subjectAltName: clients reject it, and ignore its common name");
    }
    if let Ok(Some(usage)) = certificate.extended_key_usage()
        && !usage.value.server_auth
        && !usage.value.any
    {
        found.push("its extendedKeyUsage lacks serverAuth: clients refuse it");
    }
    found
}
