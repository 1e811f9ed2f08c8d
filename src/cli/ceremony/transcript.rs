//! The transcript of a ceremony, and its signature.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use stationmaster_train::keys::spki_fingerprint;

use crate::cli::{admin_audit::ceremony::OpenCeremony, error::CliError};

/// The records of a ceremony.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Transcript {
    pub version: u32,
    pub ceremony: OpenCeremony,
    /// RFC 3339, UTC.
    pub finished: String,
    /// Records of the administrators' log, with their numbers and hashes there.
    pub records: Vec<Value>,
    /// SHA-256 of the page, hex.
    pub page_sha256: String,
}

/// A signed transcript: the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Signed {
    /// The transcript, JSON.
    pub text: String,
    /// The signer's fingerprint.
    pub key: String,
    /// Base64.
    pub signature: String,
}

impl Transcript {
    pub(super) fn new(open: &OpenCeremony, records: Vec<Value>) -> Self {
        let finished = jiff::Timestamp::now().to_string();
        Self { version: 1, ceremony: open.clone(), finished, records, page_sha256: String::new() }
    }

    /// Returns the text that is signed, which contains the digest of the page.
    pub(super) fn text(&self, page: &str) -> Result<String, CliError> {
        let mut value = serde_json::to_value(self).map_err(CliError::other)?;
        value["page_sha256"] = digest(page.as_bytes()).into();
        Ok(value.to_string())
    }
}

impl Signed {
    pub(super) fn new(text: String, spki_der: &[u8], signature: &[u8]) -> Self {
        Self { text, key: spki_fingerprint(spki_der), signature: STANDARD.encode(signature) }
    }

    pub(super) fn bytes(&self) -> Result<Vec<u8>, CliError> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(CliError::other)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

/// Returns the message that is signed: short, because Ed25519 signs the message itself.
pub(super) fn message(text: &str) -> String {
    format!("stationmaster ceremony\n{}\n", digest(text.as_bytes()))
}

/// Returns the SHA-256, hex.
pub(super) fn digest(bytes: &[u8]) -> String {
    const_hex::encode(Sha256::digest(bytes))
}
