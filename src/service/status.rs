//! Errors on the wire: a canonical code, one `ErrorInfo`, and a `RetryInfo` if waiting helps. The only file that names the
//! wire's status type; services return [`Answer`] and refuse with [`Refusal`].

pub mod client_error;
mod keystore;
mod overload;
mod reason;
mod step;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, pin::Pin};

pub use reason::Reason;
pub use step::{key_states_unknown, unrecorded};
use tonic::codegen::http;
use tonic_types::{ErrorDetails, StatusExt};

pub use self::client_error::Failure;
use crate::{
    audit::{Entry, Event},
    protocol::Caller,
};

/// The domain of every `ErrorInfo`.
pub const DOMAIN: &str = "stationmaster.v1";

/// The error of a client's call.
pub type RpcError = tonic::Status;
/// The result of a unary RPC.
pub type Answer<T> = Result<tonic::Response<T>, tonic::Status>;
/// The stream of a streaming RPC.
pub type AnswerStream<T> = Pin<Box<dyn futures_util::Stream<Item = Result<T, tonic::Status>> + Send>>;

/// A refused request, or a failed step.
#[derive(Debug, Clone)]
pub struct Refusal {
    reason: Reason,
    message: String,
    metadata: BTreeMap<String, String>,
    field: Option<Box<(String, String)>>,
    /// The cause, for the protected log only.
    detail: Option<Box<str>>,
    /// Whether the cause is a fault of the station or of a component that it depends on.
    is_fault: bool,
}

/// Maximum length of a message or cause, in bytes: longer text is truncated. Both may contain text from a caller.
const LONGEST: usize = 1024;

/// Returns the text, truncated after [`LONGEST`] bytes.
fn bounded(mut text: String) -> String {
    if text.len() > LONGEST {
        let whole = text.len();
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push_str(&format!("… ({whole} bytes)"));
    }
    text
}

/// Maximum length of a caller's name that a response repeats, in characters.
const LONGEST_NAME: usize = 128;

/// Returns a name from a caller in the form that a response repeats: short, and without characters that control a terminal or a
/// log.
#[must_use]
pub fn named(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars().take(LONGEST_NAME) {
        match character {
            '"' | '\'' | '\\' => shown.push(character),
            other => shown.extend(other.escape_debug()),
        }
    }
    if text.chars().nth(LONGEST_NAME).is_some() {
        shown.push('…');
    }
    shown
}

impl Reason {
    /// Makes a refusal with a message for the caller. The message must not contain a path, PIN or text of the token, and of the
    /// caller's own bytes only the result of [`named`].
    #[must_use]
    pub fn status(self, message: impl Into<String>) -> Refusal {
        Refusal {
            reason: self,
            message: bounded(message.into()),
            metadata: BTreeMap::new(),
            field: None,
            detail: None,
            is_fault: false,
        }
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

    /// Names the invalid field of the request (a `BadRequest` detail).
    #[must_use]
    pub fn with_field(mut self, field: &str, description: impl Into<String>) -> Self {
        self.field = Some(Box::new((field.to_owned(), description.into())));
        self
    }

    /// Makes the refusal for a failed verification of a train: the caller receives one reason and an id, audit and log the id
    /// and the detail.
    #[must_use]
    pub fn train_authentication(detail: &dyn std::fmt::Display) -> Self {
        let refusal_id = uuid::Uuid::now_v7().to_string();
        Self::from(Reason::TrainAuthenticationFailed).with_meta("refusal_id", refusal_id).with_detail(detail)
    }

    /// Makes the refusal for a caller's wrapped key that cannot be unwrapped. As with trains, the caller receives one reason and
    /// an id.
    #[must_use]
    pub fn unwrapping(detail: &dyn std::fmt::Display) -> Self {
        let refusal_id = uuid::Uuid::now_v7().to_string();
        tracing::warn!(target: "stationmaster::refusal", %refusal_id, detail = %detail, "a wrapped key does not open");
        Self::from(Reason::UnwrapFailed).with_meta("refusal_id", refusal_id).with_detail(detail)
    }

    /// Keeps the cause for the record of the refusal. It is not sent.
    #[must_use]
    pub fn with_detail(mut self, detail: &dyn std::fmt::Display) -> Self {
        self.detail = Some(bounded(detail.to_string()).into());
        self
    }

    /// As [`Refusal::with_detail`], for a cause that is a fault and not a property of the request.
    #[must_use]
    pub fn with_fault(mut self, detail: &dyn std::fmt::Display) -> Self {
        self.is_fault = true;
        self.with_detail(detail)
    }

    /// Adds the principal's name if the reason is missing permission.
    #[must_use]
    pub fn told_to(mut self, principal: &str) -> Self {
        if !matches!(self.reason, Reason::RpcNotAllowed | Reason::KeyNotAllowed) || self.metadata.contains_key("principal") {
            return self;
        }
        self.message = bounded(format!("{} (asked by {principal})", self.message));
        self.with_meta("principal", principal)
    }

    /// Logs the cause, if the caller does not receive it.
    pub fn log(&self, caller: &Caller) {
        let Some(detail) = &self.detail else { return };
        let (call, principal, rpc, reason) = (caller.call(), caller.principal(), caller.rpc(), self.reason.name());
        let meta = |name| self.metadata.get(name).map(String::as_str);
        let (refusal_id, error_id, rule) = (meta("refusal_id"), meta("error_id"), meta("rule"));
        if self.is_fault {
            tracing::error!(target: "stationmaster::refusal", call, principal, rpc, reason, error_id, detail = ?detail, "failed");
        } else {
            tracing::warn!(
                target: "stationmaster::refusal",
                call, principal, rpc, reason, refusal_id, rule, detail = ?detail,
                "refused"
            );
        }
    }

    /// Adds the refusal to a record.
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

    /// Returns the reason.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Returns the refusal as a complete HTTP response, for refusals before a service is reached.
    #[must_use]
    pub fn into_http<B: Default>(self) -> http::Response<B> {
        tonic::Status::from(self).into_http()
    }

    /// Returns the refusal as trailers, for a stream that the server ends.
    #[must_use]
    pub fn into_trailers(self) -> http::HeaderMap {
        let mut trailers = http::HeaderMap::new();
        if tonic::Status::from(self).add_header(&mut trailers).is_err() {
            // This fails only if the message cannot be a header value; the code alone must still reach the caller.
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

/// Replaces tonic's own errors before a service is reached (a request that is too large, or cannot be decoded) by the contract's
/// refusal. Errors of this project carry details and are left unchanged.
#[must_use]
pub fn in_contract(headers: &http::HeaderMap) -> Option<Refusal> {
    if headers.contains_key("grpc-status-details-bin") {
        return None;
    }
    match headers.get("grpc-status")?.as_bytes() {
        b"11" => Some(too_large()),
        b"13" => Some(undecodable()),
        _ => None,
    }
}

impl Refusal {
    /// Makes the refusal of a call whose permission was withdrawn while it ran.
    #[must_use]
    pub fn withdrawn() -> Self {
        Reason::RpcNotAllowed.status("what this call does was permitted when it began, and is no longer")
    }

    /// Makes the refusal for a message that could not be received.
    #[must_use]
    pub fn of_transport(status: &RpcError) -> Self {
        match status.code() {
            tonic::Code::OutOfRange | tonic::Code::ResourceExhausted => too_large(),
            tonic::Code::Cancelled | tonic::Code::Unknown | tonic::Code::Unavailable => Reason::Cancelled.into(),
            _ => undecodable(),
        }
    }
}

fn too_large() -> Refusal {
    Reason::LimitExceeded.status("the request is too large").with_meta("limit", "request_bytes")
}

fn undecodable() -> Refusal {
    Reason::MalformedRequest.status("the request cannot be decoded")
}

/// Returns the refusal in a response's headers, if there is one.
#[must_use]
pub fn refused(headers: &http::HeaderMap) -> Option<Refusal> {
    let status = tonic::Status::from_header_map(headers).filter(|status| status.code() != tonic::Code::Ok)?;
    let reason = Failure::from(&status).reason.unwrap_or(Reason::Invariant);
    Some(reason.status(status.message()))
}
