//! Decodes the error of a failed call, for clients.

use std::{collections::BTreeMap, time::Duration};

use tonic_types::StatusExt;

use super::{DOMAIN, Reason, RpcError};

/// The parts of a failed call's error.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The canonical code.
    pub code: tonic::Code,
    /// The reason, if the service sent one (or gRPC's code is one).
    pub reason: Option<Reason>,
    /// The reason's name as received, including names that this client does not know.
    pub reason_name: Option<String>,
    /// The message for display.
    pub message: String,
    /// The `ErrorInfo`'s metadata.
    pub metadata: BTreeMap<String, String>,
    /// Delay before a retry.
    pub retry_after: Option<Duration>,
}

impl From<&RpcError> for Failure {
    fn from(status: &RpcError) -> Self {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == DOMAIN);
        let code = if timed_out(status) { tonic::Code::DeadlineExceeded } else { status.code() };
        let bare = match code {
            tonic::Code::DeadlineExceeded => Some(Reason::DeadlineExceeded),
            tonic::Code::Cancelled => Some(Reason::Cancelled),
            _ => None,
        };
        let reason = info.and_then(|info| Reason::from_name(&info.reason)).or(bare);
        Self {
            code,
            reason,
            reason_name: info.map(|info| info.reason.clone()).or(bare.map(|reason| reason.name().to_owned())),
            message: status.message().to_owned(),
            metadata: info.map(|info| info.metadata.clone().into_iter().collect()).unwrap_or_default(),
            retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
        }
    }
}

/// Whether the client's own timer ended the call: tonic's client reports that as CANCELLED.
fn timed_out(status: &RpcError) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<tonic::TimeoutExpired>() {
            return true;
        }
        cause = error.source();
    }
    false
}
