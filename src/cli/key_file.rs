//! What a file with a key or certificate is, whatever it was given as: one recogniser for every option that takes one. Where it is of another
//! kind than is wanted, the message says which, and with which command it becomes what is wanted.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use openssl::{
    pkcs12::Pkcs12,
    pkey::{Id, PKey},
    x509::{X509, X509Req},
};
use zeroize::Zeroizing;

use super::error::CliError;
use crate::{
    files::input,
    train::{
        config::HexText,
        keys::{KeyError, PublicKey},
    },
};

/// Longest file that is read, in bytes: chains of certificates fit.
const LONGEST: u64 = 1 << 20;

/// What an option wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// An RSA public key, by itself.
    PublicKey,
    /// A private key in PEM; it may be encrypted.
    PrivateKey,
    /// A private key in PEM that can be used without a passphrase.
    PlainPrivateKey,
    /// One or several certificates in PEM.
    Certificates,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Empty,
    PublicKey,
    PrivateKey,
    PrivateKeyDer,
    EncryptedPrivateKey,
    Certificate,
    CertificateDer,
    Request,
    SshPublicKey,
    Ssh2PublicKey,
    SshPrivateKey,
    Pkcs12,
    Pkcs7,
    Jwk,
    PrivateJwk,
    /// A public key, in PEM or DER, that is not RSA's.
    OtherKey(&'static str),
    OpenPgp,
    TrustFile,
    TrainConfig,
    /// Packed, with the program that unpacks it.
    Packed(&'static str),
    Utf16,
    Unknown,
}

/// Reads a file for one of the options that take keys or certificates. Its memory is wiped: it may be a private key.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let trouble = |error: std::io::Error| CliError::file("read", path, &error);
    // Room for all of it beforehand: a growing buffer leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST as usize + 1));
    input::read_into(path, LONGEST, &mut bytes).map_err(trouble)?;
    Ok(bytes)
}

/// A public key in a file: PEM (with text around it), DER, hex of either, or a JSON Web Key.
pub(super) fn public_key(path: &Path) -> Result<PublicKey, CliError> {
    let bytes = read(path)?;
    match parsed(&bytes) {
        Ok(key) => Ok(key),
        Err(error) => Err(wrong(path, &bytes, Wanted::PublicKey).unwrap_or_else(|| flaw(path, error))),
    }
}

/// A public key as hex, of PEM or of DER.
pub(super) fn public_key_in_hex(text: &str) -> Result<PublicKey, CliError> {
    let path = Path::new("the hex");
    let bytes = HexText::new(text).decode().map_err(|_| flaw(path, KeyError::NotHex))?;
    parsed(&bytes).map_err(|error| wrong(path, &bytes, Wanted::PublicKey).unwrap_or_else(|| flaw(path, error)))
}

/// The bytes of a file, where it is of the kind that is wanted.
pub(super) fn pem(path: &Path, wanted: Wanted) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let bytes = read(path)?;
    match wrong(path, &bytes, wanted) {
        Some(error) => Err(error),
        None => Ok(bytes),
    }
}

/// How a file becomes what is wanted, where it is recognised as something else.
pub(super) fn hint(path: &Path, wanted: Wanted) -> Option<String> {
    wrong(path, &read(path).ok()?, wanted)?.hint
}

/// What an option for public keys takes.
const PUBLIC: &str = "an RSA public key of 2048 to 8192 bits is wanted: as PEM, DER, hex of either, or a JSON Web Key";

fn flaw(path: &Path, error: KeyError) -> CliError {
    CliError::usage(format!("{}: {error}", path.display())).with_hint(PUBLIC)
}

fn parsed(bytes: &[u8]) -> Result<PublicKey, KeyError> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii();
    if let Some(key) = jwk(text) {
        return key;
    }
    if find(bytes, b"-----BEGIN ") {
        return PublicKey::from_pem(bytes);
    }
    if !text.is_empty() && text.iter().all(|byte| byte.is_ascii_hexdigit() || byte.is_ascii_whitespace()) {
        let hex: String = text.iter().filter(|byte| byte.is_ascii_hexdigit()).map(|byte| char::from(*byte)).collect();
        let inner = HexText::new(hex).decode().map_err(|_| KeyError::NotHex)?;
        return if find(&inner, b"-----BEGIN ") { PublicKey::from_pem(&inner) } else { of_der(&inner) };
    }
    of_der(bytes)
}

/// SubjectPublicKeyInfo, or PKCS#1.
fn of_der(der: &[u8]) -> Result<PublicKey, KeyError> {
    PublicKey::from_spki_der(der).or_else(|error| {
        let pkcs1 = openssl::rsa::Rsa::public_key_from_der_pkcs1(der).map_err(|_| error)?;
        if pkcs1.public_key_to_der_pkcs1().map_err(|_| KeyError::Unavailable)? != der {
            return Err(KeyError::NotRsa);
        }
        PublicKey::from_components(&pkcs1.n().to_vec(), &pkcs1.e().to_vec())
    })
}

/// A JSON Web Key of RSA's public half, where the text is one.
fn jwk(text: &[u8]) -> Option<Result<PublicKey, KeyError>> {
    let value: serde_json::Value = serde_json::from_slice(text).ok()?;
    let number = |name: &str| URL_SAFE_NO_PAD.decode(value.get(name)?.as_str()?).ok();
    if value.get("kty")?.as_str()? != "RSA" || value.get("d").is_some() {
        return None;
    }
    Some(PublicKey::from_components(&number("n")?, &number("e")?))
}

/// Why a file is not what is wanted, where it is recognised as something else.
fn wrong(path: &Path, bytes: &[u8], wanted: Wanted) -> Option<CliError> {
    let kind = Kind::of(bytes);
    // Certificates and their key may be in one file.
    if kind.is(wanted) || (wanted == Wanted::Certificates && find(bytes, b"-----BEGIN CERTIFICATE-----")) {
        return None;
    }
    let what = kind.name();
    let needed = match wanted {
        Wanted::PublicKey => "an RSA public key",
        Wanted::PrivateKey | Wanted::PlainPrivateKey => "a private key in PEM",
        Wanted::Certificates => "certificates in PEM",
    };
    let advice = kind.advice(wanted, &quoted(path)).unwrap_or_else(|| match wanted {
        Wanted::PublicKey => PUBLIC.to_owned(),
        _ => format!("name a file that holds {needed}"),
    });
    Some(CliError::usage(format!("{} is {what}, and {needed} must be given here", path.display())).with_hint(advice))
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+,:@%".contains(letter);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

impl Kind {
    /// Tells by the bytes alone.
    pub(super) fn of(bytes: &[u8]) -> Self {
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
        // A private key counts before what stands beside it: it must not be taken for less.
        for (label, kind) in [
            ("OPENSSH PRIVATE KEY", Self::SshPrivateKey),
            ("ENCRYPTED PRIVATE KEY", Self::EncryptedPrivateKey),
            ("PRIVATE KEY", Self::PrivateKey),
            ("RSA PRIVATE KEY", Self::PrivateKey),
            ("EC PRIVATE KEY", Self::PrivateKey),
            ("DSA PRIVATE KEY", Self::PrivateKey),
            ("CERTIFICATE", Self::Certificate),
            ("TRUSTED CERTIFICATE", Self::Certificate),
            ("X509 CERTIFICATE", Self::Certificate),
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
        Pkcs12::from_der(der).is_ok().then_some(Self::Pkcs12)
    }

    fn is(self, wanted: Wanted) -> bool {
        match wanted {
            Wanted::PublicKey => matches!(self, Self::PublicKey | Self::Jwk),
            Wanted::PrivateKey => matches!(self, Self::PrivateKey | Self::EncryptedPrivateKey),
            Wanted::PlainPrivateKey => self == Self::PrivateKey,
            Wanted::Certificates => self == Self::Certificate,
        }
    }

    fn name(self) -> String {
        match self {
            Self::Empty => "empty",
            Self::PublicKey => "a public key",
            Self::PrivateKey => "a PRIVATE key",
            Self::PrivateKeyDer => "a PRIVATE key in DER",
            Self::EncryptedPrivateKey => "an encrypted PRIVATE key",
            Self::Certificate => "a certificate",
            Self::CertificateDer => "a certificate in DER",
            Self::Request => "a certificate request",
            Self::SshPublicKey | Self::Ssh2PublicKey => "an SSH public key",
            Self::SshPrivateKey => "an SSH PRIVATE key",
            Self::Pkcs12 => "a PKCS#12 file (it holds a PRIVATE key)",
            Self::Pkcs7 => "a PKCS#7 file",
            Self::Jwk => "a JSON Web Key",
            Self::PrivateJwk => "a PRIVATE JSON Web Key",
            Self::OtherKey(kind) => return format!("a public key of the kind {kind}"),
            Self::OpenPgp => "an OpenPGP key",
            Self::TrustFile => "a trust file",
            Self::TrainConfig => "a train's configuration",
            Self::Packed(_) => "a packed file",
            Self::Utf16 => "text in UTF-16",
            Self::Unknown => "no key or certificate",
        }
        .to_owned()
    }

    /// How it becomes what is wanted; `file` is quoted for a shell.
    fn advice(self, wanted: Wanted, file: &str) -> Option<String> {
        use Wanted as W;
        /// The file's own secret was nearly handed on.
        const KEEP: &str = "A private key stays where it is; its public half is";
        let text = match (self, wanted) {
            (Self::Packed(program), _) => format!("unpack it: `{program} {file} > key.pem`"),
            (Self::Utf16, _) => format!("`iconv -f UTF-16 -t UTF-8 {file} > key.pem`"),
            (Self::OtherKey(_), W::PublicKey) => {
                "trains are made with RSA keys of 2048 to 8192 bits; another kind cannot be converted into one".to_owned()
            }
            (Self::OpenPgp, W::PublicKey) => "ask its owner for the RSA key that trains are made with, as PEM".to_owned(),
            (Self::PrivateKey | Self::EncryptedPrivateKey, W::PublicKey) => {
                format!("{KEEP} `openssl pkey -in {file} -pubout -out public.pem`")
            }
            (Self::PrivateKeyDer, W::PublicKey) => {
                format!("{KEEP} `openssl pkey -inform DER -in {file} -pubout -out public.pem`")
            }
            (Self::SshPrivateKey, W::PublicKey) => format!("{KEEP} `ssh-keygen -e -m PKCS8 -f {file} > public.pem`"),
            (Self::Pkcs12, W::PublicKey) => {
                format!("{KEEP} `openssl pkcs12 -in {file} -nokeys -clcerts | openssl x509 -pubkey -noout > public.pem`")
            }
            (Self::PrivateJwk, W::PublicKey) => "give the public half: the same object without d, p, q, dp, dq and qi".to_owned(),
            (Self::Certificate, W::PublicKey) => {
                format!("`openssl x509 -in {file} -pubkey -noout > public.pem` takes the key out of it")
            }
            (Self::CertificateDer, W::PublicKey) => {
                format!("`openssl x509 -inform DER -in {file} -pubkey -noout > public.pem` takes the key out of it")
            }
            (Self::Request, W::PublicKey) => {
                format!("`openssl req -in {file} -pubkey -noout > public.pem` takes the key out of it")
            }
            (Self::Pkcs7, W::PublicKey) => {
                format!(
                    "`openssl pkcs7 -in {file} -print_certs | openssl x509 -pubkey -noout > public.pem` takes the first key out of it"
                )
            }
            (Self::SshPublicKey, W::PublicKey) => {
                format!("`ssh-keygen -e -m PKCS8 -f {file} > public.pem` writes it as PEM, if it is RSA")
            }
            (Self::Ssh2PublicKey, W::PublicKey) => {
                format!("`ssh-keygen -i -f {file} > key.pub && ssh-keygen -e -m PKCS8 -f key.pub > public.pem` writes it as PEM")
            }
            (Self::TrustFile | Self::TrainConfig, W::PublicKey) => {
                format!("`stationmaster trust import {file}` takes the keys in it")
            }
            (Self::PrivateKeyDer, W::PrivateKey | W::PlainPrivateKey) => {
                format!("`openssl pkey -inform DER -in {file} -out key.pem` writes it as PEM")
            }
            (Self::SshPrivateKey, W::PrivateKey | W::PlainPrivateKey) => {
                format!("`cp {file} key.pem && ssh-keygen -p -m PEM -f key.pem` writes a copy as PEM")
            }
            (Self::Pkcs12, W::PrivateKey | W::PlainPrivateKey) => {
                format!("`openssl pkcs12 -in {file} -nocerts -out key.pem` takes the key out of it")
            }
            (Self::CertificateDer, W::Certificates) => {
                format!("`openssl x509 -inform DER -in {file} -out cert.pem` writes it as PEM")
            }
            (Self::Pkcs12, W::Certificates) => {
                format!("`openssl pkcs12 -in {file} -nokeys -out cert.pem` takes the certificates out of it")
            }
            (Self::Pkcs7, W::Certificates) => {
                format!("`openssl pkcs7 -in {file} -print_certs -out cert.pem` takes the certificates out of it")
            }
            (Self::Request, W::Certificates) => "the authority makes the certificate from it: name what it sent back".to_owned(),
            (Self::PrivateKey | Self::EncryptedPrivateKey | Self::PrivateKeyDer | Self::SshPrivateKey, W::Certificates) => {
                "the certificate is another file: are the options swapped?".to_owned()
            }
            (Self::EncryptedPrivateKey, W::PlainPrivateKey) => {
                format!("`(umask 077; openssl pkey -in {file} -out key.pem)` writes it without a passphrase, for its owner only")
            }
            (Self::Certificate | Self::CertificateDer | Self::PublicKey, W::PrivateKey | W::PlainPrivateKey) => {
                "the private key is another file: are the options swapped?".to_owned()
            }
            _ => return None,
        };
        Some(text)
    }
}

fn other_than_rsa(id: Id) -> Option<Kind> {
    Some(Kind::OtherKey(match id {
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

fn find(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

#[cfg(test)]
mod tests;
