//! A refused call as the contract describes it, read without any code of the service.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use tonic_types::StatusExt;

/// Why a call was refused.
#[derive(Clone)]
pub struct Refusal {
    /// gRPC's code.
    pub code: tonic::Code,
    /// `ErrorInfo.reason`; empty when the error carries no `ErrorInfo`.
    pub reason: String,
    /// `ErrorInfo.domain`.
    pub domain: String,
    /// `ErrorInfo.metadata`.
    pub metadata: BTreeMap<String, String>,
    /// Whether a `RetryInfo` came along.
    pub has_retry_info: bool,
    /// The text for people.
    pub message: String,
}

impl From<tonic::Status> for Refusal {
    fn from(status: tonic::Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info().cloned().unwrap_or_else(|| tonic_types::ErrorInfo::new("", "", HashMap::new()));
        Self {
            code: status.code(),
            reason: info.reason,
            domain: info.domain,
            metadata: info.metadata.into_iter().collect(),
            has_retry_info: details.retry_info().is_some(),
            message: status.message().to_owned(),
        }
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{} {:?} {:?}", self.code, self.reason, self.message, self.metadata)
    }
}
