//! Detects the kind of a file from its bytes.

use openssl::{
    pkcs7::Pkcs7,
    pkcs12::Pkcs12,
    pkey::{Id, PKey},
    x509::{X509, X509Crl, X509Req},
};

use super::{ExpectedKind, find};

/// Kinds of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    Empty,
    PublicKey,
    PrivateKey,
    PrivateKeyDer,
    EncryptedPrivateKey,
    EncryptedPrivateKeyDer,
    Certificate,
    /// A certificate in PEM under a label that only OpenSSL reads.
    OldCertificate,
    CertificateDer,
    RevocationList,
    RevocationListDer,
    Request,
    SshPublicKey,
    Ssh2PublicKey,
    SshPrivateKey,
    Pkcs12,
    Pkcs7,
    Pkcs7Der,
    JavaKeyStore,
    Jwk,
    PrivateJwk,
    /// A public key, in PEM or DER, that is not an RSA key.
    OtherKey(&'static str),
    OpenPgp,
    TrustFile,
    TrainConfig,
    /// Compressed, with the program that decompresses it.
    Packed(&'static str),
    Utf16,
    Unknown,
}

impl FileKind {
    /// Detects the kind by the bytes alone.
    pub(crate) fn detect(bytes: &[u8]) -> Self {
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
        if text.is_empty() {
            return Self::Empty;
        }
        if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") || text.starts_with(b"-\0-\0") {
            return Self::Utf16;
        }
        Self::of_pem(bytes)
            .or_else(|| Self::of_text(text))
            .or_else(|| Self::of_packed(bytes))
            .or_else(|| Self::of_der(bytes))
            .unwrap_or(Self::Unknown)
    }

    fn of_pem(bytes: &[u8]) -> Option<Self> {
        if find(bytes, b"---- BEGIN SSH2 PUBLIC KEY") {
            return Some(Self::Ssh2PublicKey);
        }
        // A private key has priority over other contents: the file must not be treated as less sensitive.
        for (label, kind) in [
            ("OPENSSH PRIVATE KEY", Self::SshPrivateKey),
            ("ENCRYPTED PRIVATE KEY", Self::EncryptedPrivateKey),
            ("PRIVATE KEY", Self::PrivateKey),
            ("RSA PRIVATE KEY", Self::PrivateKey),
            ("EC PRIVATE KEY", Self::PrivateKey),
            ("DSA PRIVATE KEY", Self::PrivateKey),
            ("CERTIFICATE", Self::Certificate),
            ("TRUSTED CERTIFICATE", Self::OldCertificate),
            ("X509 CERTIFICATE", Self::OldCertificate),
            ("X509 CRL", Self::RevocationList),
            ("CERTIFICATE REQUEST", Self::Request),
            ("NEW CERTIFICATE REQUEST", Self::Request),
            ("PKCS7", Self::Pkcs7),
            ("CMS", Self::Pkcs7),
        ] {
            if find(bytes, format!("-----BEGIN {label}-----").as_bytes()) {
                let encrypted = kind == Self::PrivateKey && find(bytes, b"Proc-Type: 4,ENCRYPTED");
                return Some(if encrypted { Self::EncryptedPrivateKey } else { kind });
            }
        }
        if find(bytes, b"-----BEGIN PGP ") {
            return Some(Self::OpenPgp);
        }
        if find(bytes, b"-----BEGIN PUBLIC KEY-----") || find(bytes, b"-----BEGIN RSA PUBLIC KEY-----") {
            return Some(
                PKey::public_key_from_pem(bytes).ok().and_then(|key| other_than_rsa(key.id())).unwrap_or(Self::PublicKey),
            );
        }
        None
    }

    fn of_text(text: &[u8]) -> Option<Self> {
        if ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|start| text.starts_with(start.as_bytes())) {
            return Some(Self::SshPublicKey);
        }
        if let Ok(value) = serde_json::from_slice::<serde_json::Value>(text) {
            return Some(match (value.get("kty"), value.get("d"), value.get("@id").or(value.get("session_id"))) {
                (Some(_), Some(_), _) => Self::PrivateJwk,
                (Some(_), None, _) => Self::Jwk,
                (None, _, Some(_)) => Self::TrainConfig,
                _ => Self::Unknown,
            });
        }
        if find(text, b"[[creator]]") || find(text, b"[[station]]") || find(text, b"[[master]]") {
            return Some(Self::TrustFile);
        }
        let hex: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let inner = const_hex::decode(&hex).ok().filter(|inner| !inner.is_empty())?;
        Some(Self::of_pem(&inner).or_else(|| Self::of_der(&inner)).unwrap_or(Self::Unknown))
    }

    fn of_packed(bytes: &[u8]) -> Option<Self> {
        let programs: [(&[u8], &str); 5] = [
            (b"\x1f\x8b", "gunzip -c"),
            (b"\xfd7zXZ\0", "xz -dc"),
            (b"\x28\xb5\x2f\xfd", "zstd -dc"),
            (b"BZh", "bunzip2 -c"),
            (b"PK\x03\x04", "unzip -p"),
        ];
        if bytes.starts_with(b"\xfe\xed\xfe\xed") {
            return Some(Self::JavaKeyStore);
        }
        programs.into_iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, program)| Self::Packed(program))
    }

    fn of_der(der: &[u8]) -> Option<Self> {
        if der.first() != Some(&0x30) {
            return None;
        }
        if let Ok(key) = PKey::public_key_from_der(der) {
            return Some(other_than_rsa(key.id()).unwrap_or(Self::PublicKey));
        }
        if openssl::rsa::Rsa::public_key_from_der_pkcs1(der).is_ok() {
            return Some(Self::PublicKey);
        }
        if PKey::private_key_from_der(der).is_ok() {
            return Some(Self::PrivateKeyDer);
        }
        if X509::from_der(der).is_ok() {
            return Some(Self::CertificateDer);
        }
        if X509Req::from_der(der).is_ok() {
            return Some(Self::Request);
        }
        if X509Crl::from_der(der).is_ok() {
            return Some(Self::RevocationListDer);
        }
        if Pkcs7::from_der(der).is_ok() {
            return Some(Self::Pkcs7Der);
        }
        // EncryptedPrivateKeyInfo (RFC 5958) begins with its algorithm: PBES2, whose OID this is.
        if find(&der[..der.len().min(32)], b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d") {
            return Some(Self::EncryptedPrivateKeyDer);
        }
        Pkcs12::from_der(der).is_ok().then_some(Self::Pkcs12)
    }

    pub(crate) fn is(self, wanted: ExpectedKind) -> bool {
        match wanted {
            ExpectedKind::PublicKey | ExpectedKind::CheckpointKey => matches!(self, Self::PublicKey | Self::Jwk),
            ExpectedKind::PrivateKey => matches!(self, Self::PrivateKey | Self::EncryptedPrivateKey),
            ExpectedKind::PlainPrivateKey => self == Self::PrivateKey,
            ExpectedKind::Certificates => self == Self::Certificate,
            ExpectedKind::RevocationLists => matches!(self, Self::RevocationList | Self::RevocationListDer),
        }
    }

    pub(crate) fn name(self) -> String {
        match self {
            Self::Empty => "empty",
            Self::PublicKey => "a public key",
            Self::PrivateKey => "a PRIVATE key",
            Self::PrivateKeyDer => "a PRIVATE key in DER",
            Self::EncryptedPrivateKey => "an encrypted PRIVATE key",
            Self::EncryptedPrivateKeyDer => "an encrypted PRIVATE key in DER",
            Self::Certificate => "a certificate",
            Self::OldCertificate => "a certificate under an old label",
            Self::CertificateDer => "a certificate in DER",
            Self::RevocationList => "a certificate revocation list",
            Self::RevocationListDer => "a certificate revocation list in DER",
            Self::Request => "a certificate request",
            Self::SshPublicKey | Self::Ssh2PublicKey => "an SSH public key",
            Self::SshPrivateKey => "an SSH PRIVATE key",
            Self::Pkcs12 => "a PKCS#12 file (it contains a PRIVATE key)",
            Self::Pkcs7 => "a PKCS#7 file",
            Self::Pkcs7Der => "a PKCS#7 file in DER",
            Self::JavaKeyStore => "a Java key store (it contains a PRIVATE key)",
            Self::Jwk => "a JSON Web Key",
            Self::PrivateJwk => "a PRIVATE JSON Web Key",
            Self::OtherKey(kind) => return format!("a public key of the kind {kind}"),
            Self::OpenPgp => "an OpenPGP key",
            Self::TrustFile => "a trust file",
            Self::TrainConfig => "a train's configuration",
            Self::Packed(_) => "a compressed file",
            Self::Utf16 => "text in UTF-16",
            Self::Unknown => "no key or certificate",
        }
        .to_owned()
    }
}

fn other_than_rsa(id: Id) -> Option<FileKind> {
    Some(FileKind::OtherKey(match id {
        Id::RSA => return None,
        Id::RSA_PSS => "RSA-PSS",
        Id::EC => "EC",
        Id::ED25519 => "Ed25519",
        Id::ED448 => "Ed448",
        Id::DSA => "DSA",
        Id::X25519 | Id::X448 | Id::DH => "Diffie-Hellman",
        _ => "an unknown one",
    }))
}
