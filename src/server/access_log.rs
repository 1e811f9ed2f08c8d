//! Access log: a response body that writes one log line when it is dropped. It also enforces the caller's deadline and
//! permission, and keeps the request's place until its last frame.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use http_body::Frame;
use tonic::{
    body::Body,
    codegen::{
        Bytes,
        http::{HeaderMap, Request},
    },
};

use super::idle_timeout::InUse;
use crate::{
    audit::Event,
    authz::Rpc,
    protocol::{Caller, new_call},
    service::{
        Peer,
        refusals::Refusals,
        shares::Place,
        status::{Refusal, RpcError},
    },
};

/// Resolves when an incomplete response must end, to the refusal that ends it.
pub(super) type Ending = Pin<Box<dyn Future<Output = Refusal> + Send>>;

/// Paths of health and reflection, as the log names them.
const QUESTIONS: [&str; 5] = [
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.health.v1.Health/List",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// The log line, written when dropped, however the request ended. It contains nothing that the peer chose before the peer is
/// known, and failed calls are logged only within the principal's share of refusals.
pub(super) struct Line {
    method: &'static str,
    kind: &'static str,
    principal: String,
    call: String,
    begun: Instant,
    code: Option<i32>,
    caller: Option<Caller>,
    /// Whether an authorisation refusal has a record.
    recorded: Option<bool>,
    refusals: Arc<Refusals>,
}

impl Line {
    pub(super) fn new(request: &Request<Body>, refusals: Arc<Refusals>) -> Self {
        let path = request.uri().path();
        let question = || QUESTIONS.into_iter().find(|known| *known == path);
        let peer = request.extensions().get::<Peer>();
        Self {
            method: Rpc::from_path(path).map(Rpc::path).or_else(question).unwrap_or("unknown"),
            kind: peer.map_or("unknown", Peer::kind),
            principal: peer.map_or_else(|| "nobody".to_owned(), Peer::name),
            call: new_call(),
            begun: Instant::now(),
            code: None,
            caller: None,
            recorded: None,
            refusals,
        }
    }

    /// Returns the call's id.
    pub(super) fn call(&self) -> &str {
        &self.call
    }

    /// Notes the call's caller.
    pub(super) fn is_of(&mut self, caller: &Caller) {
        self.caller = Some(caller.clone());
    }

    /// Notes whether an authorisation refusal has a record.
    pub(super) fn set_recorded(&mut self, recorded: bool) {
        self.recorded = Some(recorded);
    }

    /// Whether the call was admitted and has no record yet.
    pub(super) fn is_unaccounted(&self) -> bool {
        self.caller.as_ref().is_some_and(|caller| !caller.is_accounted())
    }

    /// Records a refusal that nothing else records; returns the refusal for the caller.
    pub(super) async fn account(&self, refusal: Refusal) -> Refusal {
        match &self.caller {
            Some(caller) => self.refusals.refuse(caller, refusal, caller.entry(Event::Refusal)).await,
            None => refusal,
        }
    }

    /// As [`Line::account`], where nothing can wait for the record.
    fn account_later(&self, refusal: Refusal) {
        if let Some(caller) = self.caller.clone().filter(|caller| !caller.is_accounted()) {
            let refusals = Arc::clone(&self.refusals);
            tokio::spawn(async move { refusals.refuse(&caller, refusal, caller.entry(Event::Refusal)).await });
        }
    }

    /// Reads the status from headers or trailers, if they have one.
    pub(super) fn read(&mut self, headers: &HeaderMap) {
        if let Some(code) = headers.get("grpc-status").and_then(|code| code.to_str().ok()) {
            self.code = code.parse().ok();
        }
    }

    /// Whether the line is logged: with the record of a refusal, or within the principal's share of lines.
    fn is_due(&self, code: tonic::Code) -> bool {
        let is_counted = self.recorded == Some(false) || self.caller.as_ref().is_some_and(Caller::is_counted);
        let is_recorded =
            self.recorded == Some(true) || (self.code.is_some() && self.caller.as_ref().is_some_and(Caller::is_accounted));
        code == tonic::Code::Ok || (!is_counted && (is_recorded || self.refusals.may_say(&self.principal)))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // No status was sent: the caller disconnected first.
        let code = self.code.map_or(tonic::Code::Cancelled, tonic::Code::from_i32);
        if !self.is_due(code) {
            return;
        }
        let Self { method, kind, principal, call, .. } = self;
        let ms = self.begun.elapsed().as_micros() as f64 / 1e3;
        if method.starts_with("/grpc.") {
            tracing::debug!(target: "stationmaster::rpc", method, code = ?code, ms, peer = kind, principal, call, "rpc");
        } else {
            tracing::info!(target: "stationmaster::rpc", method, code = ?code, ms, peer = kind, principal, call, "rpc");
        }
    }
}

/// Resources that a request holds while it lives: its place in the caps, and its use of the connection.
type Held = (Place, Option<InUse>);

/// The response body.
pub(super) struct LoggedBody {
    inner: Option<Body>,
    line: Line,
    ending: Option<Ending>,
    _held: Option<Held>,
}

impl LoggedBody {
    pub(super) fn new(inner: Body, line: Line, held: Option<Held>, ending: Option<Ending>) -> Self {
        Self { inner: Some(inner), line, ending, _held: held }
    }
}

impl http_body::Body for LoggedBody {
    type Data = Bytes;
    type Error = RpcError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RpcError>>> {
        let this = &mut *self;
        let Some(inner) = this.inner.as_mut() else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(frame) = Pin::new(inner).poll_frame(context) {
            match &frame {
                Some(Ok(frame)) => {
                    if let Some(trailers) = frame.trailers_ref() {
                        this.line.read(trailers);
                    }
                }
                Some(Err(status)) => this.line.code = Some(status.code().into()),
                None => {}
            }
            return Poll::Ready(frame);
        }
        if let Some(Poll::Ready(refusal)) = this.ending.as_mut().map(|ending| ending.as_mut().poll(context)) {
            // Dropping the inner body cancels its producer.
            (this.inner, this.ending) = (None, None);
            this.line.account_later(refusal.clone());
            let trailers = refusal.into_trailers();
            this.line.read(&trailers);
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.as_ref().map(http_body::Body::size_hint).unwrap_or_default()
    }
}
