//! How a refusal travels: canonical code, one `ErrorInfo`, a `RetryInfo` where waiting helps. The only file that names the
//! wire's status type; services answer [`Answer`] and refuse with [`Refusal`].

mod keystore;
mod read;
mod reason;
mod step;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, pin::Pin};

use tonic::codegen::http;
use tonic_types::{ErrorDetails, StatusExt};

use crate::audit::{Entry, Event};

pub use read::Failure;
pub use reason::Reason;
pub use step::unrecorded;

/// The domain of every `ErrorInfo`.
pub const DOMAIN: &str = "stationmaster.v1";

/// What a client's call fails with.
pub type RpcError = tonic::Status;
/// What a unary RPC answers.
pub type Answer<T> = Result<tonic::Response<T>, tonic::Status>;
/// What a streaming RPC streams.
pub type AnswerStream<T> = Pin<Box<dyn futures_util::Stream<Item = Result<T, tonic::Status>> + Send>>;

/// A request that is refused, or a step that failed.
#[derive(Debug, Clone)]
pub struct Refusal {
    reason: Reason,
    message: String,
    metadata: BTreeMap<String, String>,
    field: Option<Box<(String, String)>>,
    /// The cause, for the protected log and nobody else.
    detail: Option<Box<str>>,
}

impl Reason {
    /// A refusal with a message for the caller. No path, PIN, token text or bytes of the caller's may be in it.
    #[must_use]
    pub fn status(self, message: impl Into<String>) -> Refusal {
        Refusal { reason: self, message: message.into(), metadata: BTreeMap::new(), field: None, detail: None }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        reason.status(reason.text())
    }
}

impl Refusal {
    /// Adds to the `ErrorInfo`'s metadata.
    #[must_use]
    pub fn with_meta(mut self, name: &str, value: impl Into<String>) -> Self {
        self.metadata.insert(name.to_owned(), value.into());
        self
    }

    /// Names the request's field that is wrong (a `BadRequest` detail).
    #[must_use]
    pub fn with_field(mut self, field: &str, description: impl Into<String>) -> Self {
        self.field = Some(Box::new((field.to_owned(), description.into())));
        self
    }

    /// A train refused by its cryptography: the caller gets one reason and an id, the log gets the id and the detail.
    #[must_use]
    pub fn train_authentication(detail: &dyn std::fmt::Display) -> Self {
        let refusal_id = uuid::Uuid::now_v7().to_string();
        tracing::warn!(target: "stationmaster::refusal", %refusal_id, detail = %detail, "authentication refused");
        Self::from(Reason::TrainAuthenticationFailed).with_meta("refusal_id", refusal_id).with_detail(detail)
    }

    /// Keeps the cause for the record of the refusal. It is not sent.
    #[must_use]
    pub fn with_detail(mut self, detail: &dyn std::fmt::Display) -> Self {
        self.detail = Some(detail.to_string().into());
        self
    }

    /// Says in a record how it was refused.
    #[must_use]
    pub fn recorded(&self, entry: Entry) -> Entry {
        Entry {
            event: Event::Refusal,
            outcome: Some(self.reason.name().to_owned()),
            refusal_id: self.metadata.get("refusal_id").cloned(),
            detail: Some(self.detail.as_deref().unwrap_or(&self.message).to_owned()),
            ..entry
        }
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The refusal as a whole HTTP answer, for what refuses before a service is reached.
    #[must_use]
    pub fn into_http<B: Default>(self) -> http::Response<B> {
        tonic::Status::from(self).into_http()
    }

    /// The refusal as trailers, for a stream that is ended by the server.
    #[must_use]
    pub fn into_trailers(self) -> http::HeaderMap {
        let mut trailers = http::HeaderMap::new();
        if tonic::Status::from(self).add_header(&mut trailers).is_err() {
            // Only a message that cannot be a header value fails; the code alone must still reach the caller.
            trailers.insert("grpc-status", http::HeaderValue::from_static("13"));
        }
        trailers
    }
}

impl From<Refusal> for tonic::Status {
    fn from(refusal: Refusal) -> Self {
        let mut details = ErrorDetails::new();
        if refusal.reason.has_error_info() {
            details.set_error_info(
                refusal.reason.name(),
                DOMAIN,
                refusal.metadata.into_iter().collect::<std::collections::HashMap<_, _>>(),
            );
        }
        if let Some(delay) = refusal.reason.retry_after() {
            details.set_retry_info(Some(delay));
        }
        if let Some(wrong) = refusal.field {
            let (field, description) = *wrong;
            details.add_bad_request_violation(field, description);
        }
        Self::with_error_details(refusal.reason.code(), refusal.message, details)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.reason.name())
    }
}

/// Replaces what tonic itself answers before a service is reached (a request too large, or one that is not the message it
/// should be) by the contract's refusal. Anything of ours carries details and is left alone.
#[must_use]
pub fn in_contract(headers: &http::HeaderMap) -> Option<Refusal> {
    if headers.contains_key("grpc-status-details-bin") {
        return None;
    }
    match headers.get("grpc-status")?.as_bytes() {
        b"11" => Some(Reason::LimitExceeded.status("the request is too large").with_meta("limit", "request_bytes")),
        b"13" => Some(Reason::MalformedRequest.status("the request cannot be decoded")),
        _ => None,
    }
}
