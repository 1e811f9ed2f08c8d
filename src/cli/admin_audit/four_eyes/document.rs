//! Requests and decisions, as texts that officers sign.
//!
//! The signature is over a line that names the kind of document, and the text itself, which is JSON. A text is never written again: it
//! is verified as it was signed.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    CommandUser,
    officer_key::{self, OfficerKey},
    officers::{Officer, Officers},
};
use crate::{cli::error::CliError, config::GuardedAct};

/// What an officer requests.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct Request {
    pub version: u32,
    pub id: String,
    pub station: String,
    pub act: GuardedAct,
    pub command: String,
    pub parameters: Value,
    pub reason: Option<String>,
    pub officer: String,
    pub fingerprint: String,
    pub(super) person: CommandUser,
    /// RFC 3339, UTC.
    pub requested: String,
    /// RFC 3339, UTC.
    pub expires: String,
}

/// What a second officer decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) enum Verdict {
    Approve,
    Reject,
}

/// The decision of a second officer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct Decision {
    pub version: u32,
    pub request: String,
    /// Of the signed request.
    pub digest: String,
    pub verdict: Verdict,
    pub reason: Option<String>,
    pub officer: String,
    pub fingerprint: String,
    pub(super) person: CommandUser,
    /// RFC 3339, UTC.
    pub decided: String,
}

/// The state of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) enum State {
    Open,
    Approved,
    Rejected,
    Used,
    Expired,
}

impl State {
    pub(in crate::cli) fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Used => "used",
            Self::Expired => "expired",
        }
    }
}

/// A signed text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Signed {
    text: String,
    /// The signer's fingerprint.
    key: String,
    /// Base64.
    signature: String,
}

/// The file of a request.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    pub request: Signed,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Signed>,
}

/// A document of one kind.
pub(super) trait Document: Serialize + DeserializeOwned {
    /// The first line of what is signed.
    const KIND: &'static str;
    fn version(&self) -> u32;
    fn officer(&self) -> (&str, &str);
}

impl Document for Request {
    const KIND: &'static str = "stationmaster four-eyes request\n";

    fn version(&self) -> u32 {
        self.version
    }

    fn officer(&self) -> (&str, &str) {
        (&self.officer, &self.fingerprint)
    }
}

impl Document for Decision {
    const KIND: &'static str = "stationmaster four-eyes decision\n";

    fn version(&self) -> u32 {
        self.version
    }

    fn officer(&self) -> (&str, &str) {
        (&self.officer, &self.fingerprint)
    }
}

impl Signed {
    pub(super) fn new<D: Document>(document: &D, key: &OfficerKey) -> Result<Self, CliError> {
        let text = serde_json::to_string(document).map_err(CliError::other)?;
        let signature = STANDARD.encode(key.sign(&[D::KIND.as_bytes(), text.as_bytes()].concat())?);
        Ok(Self { text, key: key.fingerprint().to_owned(), signature })
    }

    /// Returns the document and its signer if the signature is valid and its signer is an officer.
    pub(super) fn verify<'a, D: Document>(&self, officers: &'a Officers) -> Result<(D, &'a Officer), &'static str> {
        let officer = officers.by_key(&self.key).ok_or("its signer is not, or is no longer, in the file of officers")?;
        let signature = STANDARD.decode(&self.signature).map_err(|_| "its signature is invalid")?;
        if !officer_key::is_valid(&officer.key, &[D::KIND.as_bytes(), self.text.as_bytes()].concat(), &signature) {
            return Err("its signature is invalid: it was edited, or damaged");
        }
        let document: D = serde_json::from_str(&self.text).map_err(|_| "it is of another version of this program")?;
        if document.version() != 1 || document.officer() != (officer.name.as_str(), officer.fingerprint.as_str()) {
            return Err("it names another officer than its signer, or is of another version");
        }
        Ok((document, officer))
    }

    /// Returns the SHA-256 of the text and its signature, hex.
    pub(super) fn digest(&self) -> String {
        const_hex::encode(Sha256::digest(format!("{}\n{}", self.text, self.signature)))
    }
}
