//! How a refusal travels: canonical code, one `ErrorInfo`, a `RetryInfo` where waiting helps. The only file that names the
//! wire's status type; services answer [`Answer`] and refuse with [`Refusal`].

pub mod client_error;
mod keystore;
mod overload;
mod reason;
mod step;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, pin::Pin};

pub use reason::Reason;
pub use step::unrecorded;
use tonic::codegen::http;
use tonic_types::{ErrorDetails, StatusExt};

pub use self::client_error::Failure;
use crate::{
    audit::{Entry, Event},
    protocol::Caller,
};

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
    /// Whether the cause is the station's own fault, or that of something it leans on.
    is_fault: bool,
}

/// Longest message or cause, in bytes: what is longer is cut. Both may hold what a caller sent.
const LONGEST: usize = 1024;

/// A text, cut after [`LONGEST`] bytes.
fn bounded(mut text: String) -> String {
    if text.len() > LONGEST {
        let whole = text.len();
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push_str(&format!("… ({whole} bytes)"));
    }
    text
}

/// Longest name of a caller's that an answer repeats, in characters.
const LONGEST_NAME: usize = 128;

/// A name that a caller gave, as an answer repeats it: short, and without characters that act on a terminal or a log.
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
    /// A refusal with a message for the caller. No path, PIN or token text may be in it, and of the caller's own bytes only what
    /// [`named`] makes of a name.
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

    /// Names the request's field that is wrong (a `BadRequest` detail).
    #[must_use]
    pub fn with_field(mut self, field: &str, description: impl Into<String>) -> Self {
        self.field = Some(Box::new((field.to_owned(), description.into())));
        self
    }

    /// A train refused by its cryptography: the caller gets one reason and an id, audit and log get the id and the detail.
    #[must_use]
    pub fn train_authentication(detail: &dyn std::fmt::Display) -> Self {
        let refusal_id = uuid::Uuid::now_v7().to_string();
        Self::from(Reason::TrainAuthenticationFailed).with_meta("refusal_id", refusal_id).with_detail(detail)
    }

    /// A wrapped key that a caller sent and that does not open. As with trains, the caller gets one reason and an id.
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

    /// As [`Refusal::with_detail`], where the cause is a fault and not what was asked for.
    #[must_use]
    pub fn with_fault(mut self, detail: &dyn std::fmt::Display) -> Self {
        self.is_fault = true;
        self.with_detail(detail)
    }

    /// Says to whom it is not allowed, where that is the reason.
    #[must_use]
    pub fn told_to(mut self, principal: &str) -> Self {
        if !matches!(self.reason, Reason::RpcNotAllowed | Reason::KeyNotAllowed) || self.metadata.contains_key("principal") {
            return self;
        }
        self.message = bounded(format!("{} (asked by {principal})", self.message));
        self.with_meta("principal", principal)
    }

    /// Says the cause in the log, where the caller is not told it.
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
        b"11" => Some(too_large()),
        b"13" => Some(undecodable()),
        _ => None,
    }
}

impl Refusal {
    /// Of a call that was permitted when it began, and is no longer.
    #[must_use]
    pub fn withdrawn() -> Self {
        Reason::RpcNotAllowed.status("what this call does was permitted when it began, and is no longer")
    }

    /// What is wrong with a message that could not be received.
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

/// The refusal that an answer's headers carry, if it is one.
#[must_use]
pub fn refused(headers: &http::HeaderMap) -> Option<Refusal> {
    let status = tonic::Status::from_header_map(headers).filter(|status| status.code() != tonic::Code::Ok)?;
    let reason = Failure::from(&status).reason.unwrap_or(Reason::Invariant);
    Some(reason.status(status.message()))
}
