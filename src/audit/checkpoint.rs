//! Signed checkpoints of a log's head, as text (C2SP tlog-checkpoint, in the form of a C2SP signed-note).
//!
//! ```text
//! stationmaster/0d6a…            origin: which log; also the name of the key
//! 1234                           records that it covers
//! q1w2…=                         root of the tree over them (RFC 6962, SHA-256), base64
//! head 9f3c…                     hash of the last of them, hex
//!
//! — stationmaster/0d6a… AbCd…    four bytes that name the key, and the signature, base64
//! ```
//!
//! The signature is RSASSA-PSS with SHA-256, MGF1-SHA-256 and a salt of 32 bytes, over the text up to and including the newline
//! before the empty line. Signed notes define no RSA type; this type is 0xff (other), with `stationmaster-rsa-pss-sha256` as its name.

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use super::{read, tree::Hash};

/// Name of the signature type in the key's id.
const SIGNATURE_SCHEME: &str = "stationmaster-rsa-pss-sha256";

/// What a checkpoint covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covered {
    /// Number of records, from the first on.
    pub size: u64,
    /// Hash of the last of these records.
    pub head: Hash,
    /// Root of the tree over them.
    pub root: Hash,
}

/// Why a text is not a valid checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The text is not a checkpoint in this format.
    #[error("it is not a checkpoint")]
    Malformed,
    /// It belongs to another log.
    #[error("it belongs to another log")]
    OtherLog,
    /// It was signed by another key, or names one.
    #[error("it names another key")]
    OtherKey,
    /// The signature is invalid.
    #[error("its signature is invalid")]
    BadSignature,
}

/// Returns the text that is signed.
#[must_use]
pub fn text(origin: &str, covered: &Covered) -> String {
    let Covered { size, head, root } = covered;
    format!("{origin}\n{size}\n{}\nhead {}\n", STANDARD.encode(root), const_hex::encode(head))
}

/// Returns the SHA-256 of the text, which the token signs.
#[must_use]
pub fn digest(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}

/// Returns the complete checkpoint.
#[must_use]
pub fn signed(text: &str, origin: &str, spki_der: &[u8], signature: &[u8]) -> String {
    let mut named = key_id(origin, spki_der).to_vec();
    named.extend_from_slice(signature);
    format!("{text}\n\u{2014} {origin} {}\n", STANDARD.encode(named))
}

/// Reads a checkpoint and verifies it with a public key (SubjectPublicKeyInfo).
///
/// # Errors
/// [`CheckpointError`].
pub fn verify(note: &str, origin: &str, spki_der: &[u8]) -> Result<Covered, CheckpointError> {
    let (covered, text, signature_line) = parse(note, origin)?;
    let rest =
        signature_line.strip_prefix('\u{2014}').and_then(|rest| rest.strip_prefix(' ')).ok_or(CheckpointError::Malformed)?;
    let (name, encoded) = rest.rsplit_once(' ').ok_or(CheckpointError::Malformed)?;
    if name != origin {
        return Err(CheckpointError::OtherKey);
    }
    let named = STANDARD.decode(encoded).map_err(|_| CheckpointError::Malformed)?;
    let (id, signature) = named.split_first_chunk::<4>().ok_or(CheckpointError::Malformed)?;
    if *id != key_id(origin, spki_der) {
        return Err(CheckpointError::OtherKey);
    }
    if !holds(spki_der, &digest(&text), signature).unwrap_or(false) {
        return Err(CheckpointError::BadSignature);
    }
    Ok(covered)
}

/// Parses a checkpoint without verifying its signature.
pub(super) fn parse(note: &str, origin: &str) -> Result<(Covered, String, String), CheckpointError> {
    let (text, signature) = note.split_once("\n\n").ok_or(CheckpointError::Malformed)?;
    let signature = signature.strip_suffix('\n').filter(|line| !line.contains('\n')).ok_or(CheckpointError::Malformed)?;
    let [named, size, root, head] = text.split('\n').collect::<Vec<_>>()[..] else {
        return Err(CheckpointError::Malformed);
    };
    if named != origin {
        return Err(CheckpointError::OtherLog);
    }
    let root = STANDARD.decode(root).ok().and_then(|root| Hash::try_from(root).ok());
    let covered = Covered {
        size: size.parse().map_err(|_| CheckpointError::Malformed)?,
        root: root.ok_or(CheckpointError::Malformed)?,
        head: head.strip_prefix("head ").and_then(read::hash).ok_or(CheckpointError::Malformed)?,
    };
    // Only the canonical spelling is accepted.
    if self::text(origin, &covered) != format!("{text}\n") {
        return Err(CheckpointError::Malformed);
    }
    Ok((covered, format!("{text}\n"), signature.to_owned()))
}

/// Returns the C2SP signed-note key id: the first four bytes of SHA-256 over name, newline, type, and the public key.
fn key_id(name: &str, spki_der: &[u8]) -> [u8; 4] {
    let hash =
        Sha256::new().chain_update(name).chain_update(b"\n\xff").chain_update(SIGNATURE_SCHEME).chain_update(spki_der).finalize();
    [hash[0], hash[1], hash[2], hash[3]]
}

fn holds(spki_der: &[u8], digest: &Hash, signature: &[u8]) -> Result<bool, openssl::error::ErrorStack> {
    use openssl::{md::Md, pkey::PKey, pkey_ctx::PkeyCtx, rsa::Padding, sign::RsaPssSaltlen};
    let key = PKey::public_key_from_der(spki_der)?;
    let mut context = PkeyCtx::new(&key)?;
    context.verify_init()?;
    context.set_rsa_padding(Padding::PKCS1_PSS)?;
    context.set_signature_md(Md::sha256())?;
    context.set_rsa_mgf1_md(Md::sha256())?;
    context.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
    // For a signature that does not fit OpenSSL reports an error, which is taken off its queue here.
    Ok(context.verify(digest, signature).unwrap_or(false))
}
