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
//! The signature is over the text up to and including the newline before the empty line, in a form that the key's type determines
//! (`note_key`).

mod note_key;

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use note_key::NoteKey;

use super::{read, tree::Hash};

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

/// Returns the SHA-256 of the text, which the token signs with RSA and ECDSA. With Ed25519 it signs the text.
#[must_use]
pub fn digest(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}

/// Returns the complete checkpoint.
#[must_use]
pub fn signed(text: &str, origin: &str, spki_der: &[u8], signature: &[u8]) -> String {
    let mut named = NoteKey::read(spki_der).id(origin).to_vec();
    named.extend_from_slice(signature);
    format!("{text}\n\u{2014} {origin} {}\n", STANDARD.encode(named))
}

/// Reads a checkpoint and verifies it with the one of the public keys (SubjectPublicKeyInfo) that it names.
///
/// # Errors
/// [`CheckpointError`].
pub fn verify(note: &str, origin: &str, keys: &[&[u8]]) -> Result<Covered, CheckpointError> {
    let (covered, text, signature_line) = parse(note, origin)?;
    let rest =
        signature_line.strip_prefix('\u{2014}').and_then(|rest| rest.strip_prefix(' ')).ok_or(CheckpointError::Malformed)?;
    let (name, encoded) = rest.rsplit_once(' ').ok_or(CheckpointError::Malformed)?;
    if name != origin {
        return Err(CheckpointError::OtherKey);
    }
    let named = STANDARD.decode(encoded).map_err(|_| CheckpointError::Malformed)?;
    let (id, signature) = named.split_first_chunk::<4>().ok_or(CheckpointError::Malformed)?;
    let mut named = keys.iter().map(|spki_der| NoteKey::read(spki_der)).filter(|key| *id == key.id(origin)).peekable();
    if named.peek().is_none() {
        return Err(CheckpointError::OtherKey);
    }
    if !named.any(|key| key.verifies(&text, signature)) {
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
