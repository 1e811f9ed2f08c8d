//! A response body that is held to the caller's deadline, keeps the request's slot until its last frame, and leaves one line
//! in the log when it is gone.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use http_body::Frame;
use tokio::{sync::OwnedSemaphorePermit, time::Sleep};
use tonic::{
    body::Body,
    codegen::{
        Bytes,
        http::{HeaderMap, Request},
    },
};

use crate::service::{
    Peer,
    status::{Reason, Refusal, RpcError},
};

/// The line: written when dropped, whichever way the request ended.
pub(super) struct Line {
    method: String,
    peer: &'static str,
    begun: Instant,
    code: Option<i32>,
}

impl Line {
    pub(super) fn begin(request: &Request<Body>) -> Self {
        Self {
            method: request.uri().path().to_owned(),
            peer: request.extensions().get::<Peer>().map_or("unknown", Peer::kind),
            begun: Instant::now(),
            code: None,
        }
    }

    /// Takes the status from headers or trailers, where there is one.
    pub(super) fn read(&mut self, headers: &HeaderMap) {
        if let Some(code) = headers.get("grpc-status").and_then(|code| code.to_str().ok()) {
            self.code = code.parse().ok();
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // No status was sent: the caller went away first.
        let code = self.code.map_or(tonic::Code::Cancelled, tonic::Code::from_i32);
        let ms = self.begun.elapsed().as_micros() as f64 / 1e3;
        let quiet = self.method.starts_with("/grpc.");
        if quiet {
            tracing::debug!(target: "stationmaster::rpc", method = %self.method, code = ?code, ms, peer = self.peer, "rpc");
        } else {
            tracing::info!(target: "stationmaster::rpc", method = %self.method, code = ?code, ms, peer = self.peer, "rpc");
        }
    }
}

/// A place in the caps, held while a request lives.
pub(super) struct Slot {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Slot {
    /// One of the principal's own places, and one of all.
    pub(super) fn new(own: OwnedSemaphorePermit, all: OwnedSemaphorePermit) -> Self {
        Self { _own: own, _all: all }
    }
}

/// The body.
pub(super) struct Observed {
    inner: Option<Body>,
    line: Line,
    deadline: Option<Pin<Box<Sleep>>>,
    _slot: Option<Slot>,
}

impl Observed {
    pub(super) fn new(inner: Body, line: Line, slot: Option<Slot>, deadline: Option<Instant>) -> Self {
        let deadline = deadline.map(|at| Box::pin(tokio::time::sleep_until(at.into())));
        Self { inner: Some(inner), line, deadline, _slot: slot }
    }
}

impl http_body::Body for Observed {
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
        if this.deadline.as_mut().is_some_and(|sleep| sleep.as_mut().poll(context).is_ready()) {
            // Dropping the inner body cancels what feeds it.
            this.inner = None;
            let trailers = Refusal::from(Reason::DeadlineExceeded).into_trailers();
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
