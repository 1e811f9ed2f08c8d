//! Recognises the kind of a file with a key, certificate or revocation list; used by every option and setting that names one.
//! When the kind is not the expected one, the message names both, and the command that converts the file.

mod advice;
mod kind;

use std::path::Path;

pub(crate) use kind::FileKind;

/// The kind of file that an option or setting expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExpectedKind {
    /// A single RSA public key.
    PublicKey,
    /// A single public key that signs checkpoints: RSA, EC P-256 or Ed25519.
    CheckpointKey,
    /// A private key in PEM; it may be encrypted.
    PrivateKey,
    /// A private key in PEM that can be used without a passphrase.
    PlainPrivateKey,
    /// One or several certificates in PEM.
    Certificates,
    /// One or several revocation lists in PEM, or one in DER.
    RevocationLists,
}

/// Description of what an option for public keys accepts.
pub(crate) const PUBLIC: &str =
    "an RSA public key of 2048 to 8192 bits is required: as PEM, DER, hex of either, or a JSON Web Key";

/// Description of what an option for the audit's key accepts.
pub(crate) const CHECKPOINTS: &str =
    "the audit's public key is required, RSA, EC P-256 or Ed25519: as PEM, DER, hex of either, or a JSON Web Key";

/// A file of the wrong kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrongKind {
    /// What the file is, and what is expected.
    pub message: String,
    /// How to convert it.
    pub hint: String,
}

/// Returns why a file is not of the expected kind, when it is recognised as another kind or holds too many items.
pub(crate) fn check_kind(path: &Path, bytes: &[u8], wanted: ExpectedKind) -> Option<WrongKind> {
    let kind = FileKind::detect(bytes);
    // Certificates and their key may be in one file.
    if kind.is(wanted) || (wanted == ExpectedKind::Certificates && find(bytes, b"-----BEGIN CERTIFICATE-----")) {
        return check_single(path, bytes, wanted);
    }
    let what = kind.name();
    let needed = match wanted {
        ExpectedKind::PublicKey => "an RSA public key",
        ExpectedKind::CheckpointKey => "an RSA, EC P-256 or Ed25519 public key",
        ExpectedKind::PrivateKey | ExpectedKind::PlainPrivateKey => "a private key in PEM",
        ExpectedKind::Certificates => "certificates in PEM",
        ExpectedKind::RevocationLists => "a revocation list in PEM or DER",
    };
    let hint = kind.advice(wanted, &quoted(path)).unwrap_or_else(|| match wanted {
        ExpectedKind::PublicKey => PUBLIC.to_owned(),
        ExpectedKind::CheckpointKey => CHECKPOINTS.to_owned(),
        _ => format!("name a file with {needed}"),
    });
    Some(WrongKind { message: format!("{} is {what}; expected {needed}", path.display()), hint })
}

/// Reports a file with several keys: different readers would use different ones.
pub(crate) fn check_single(path: &Path, bytes: &[u8], wanted: ExpectedKind) -> Option<WrongKind> {
    let (what, ending, alone) = match wanted {
        ExpectedKind::PublicKey | ExpectedKind::CheckpointKey => ("public", "PUBLIC KEY-----", "openssl pkey -pubin"),
        ExpectedKind::PrivateKey | ExpectedKind::PlainPrivateKey => ("PRIVATE", "PRIVATE KEY-----", "openssl pkey"),
        ExpectedKind::Certificates | ExpectedKind::RevocationLists => return None,
    };
    let is_one = |line: &&[u8]| {
        let line = line.trim_ascii();
        line.starts_with(b"-----BEGIN ") && line.ends_with(ending.as_bytes())
    };
    let blocks = bytes.split(|byte| matches!(byte, b'\n' | b'\r')).filter(is_one).count();
    (blocks > 1).then(|| WrongKind {
        message: format!("{} contains {blocks} {what} keys, but exactly one is required; none of them is used", path.display()),
        hint: format!("`{alone} -in {} -out key.pem` writes only the first", quoted(path)),
    })
}

/// Quotes a path for a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+,:@%".contains(letter);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn find(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}
