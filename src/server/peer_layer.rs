//! Tower layer that attaches the peer to each request and reports the progress of request and response to the connection's idle
//! watch.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http_body::Frame;
use tonic::{
    body::Body,
    codegen::{
        BoxFuture, Bytes, Service,
        http::{Request, Response},
    },
};
use tower::Layer;

use super::idle_timeout::ConnectionActivity;
use crate::service::{Peer, status::RpcError};

/// Data that a connection attaches to each of its requests.
#[derive(Clone)]
pub(super) struct ConnectionPeer {
    pub peer: Peer,
    pub activity: Arc<ConnectionActivity>,
}

/// The layer.
#[derive(Clone, Copy)]
pub(super) struct PeerLayer;

impl<S> Layer<S> for PeerLayer {
    type Service = PeerService<S>;

    fn layer(&self, inner: S) -> PeerService<S> {
        PeerService { inner }
    }
}

/// The service of the layer.
#[derive(Clone)]
pub(super) struct PeerService<S> {
    inner: S,
}

impl<S> Service<Request<Body>> for PeerService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let Some(ConnectionPeer { peer, activity }) = request.extensions_mut().remove::<ConnectionPeer>() else {
            return Box::pin(self.inner.call(request));
        };
        activity.request_started();
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(Arc::clone(&activity));
        // A reflection stream may stay open: it does not count as a use of the connection.
        if !request.uri().path().starts_with("/grpc.") {
            let activity = Arc::clone(&activity);
            request = request.map(|body| Body::new(TrackedBody::new(body, activity, Direction::Request)));
        }
        let answer = self.inner.call(request);
        Box::pin(async move { Ok(answer.await?.map(|body| Body::new(TrackedBody::new(body, activity, Direction::Answer)))) })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Answer,
}

/// A body that notifies the connection when it waits for the peer: a request body, when the next piece has not arrived; a
/// response body, from when a piece is made until the next is polled, since HTTP/2 polls only when the peer has room for one.
struct TrackedBody {
    inner: Body,
    activity: Arc<ConnectionActivity>,
    number: u64,
    half: Direction,
}

impl TrackedBody {
    fn new(inner: Body, activity: Arc<ConnectionActivity>, half: Direction) -> Self {
        let number = activity.number();
        if half == Direction::Answer {
            activity.waits(number);
        }
        Self { inner, activity, number, half }
    }
}

impl Drop for TrackedBody {
    fn drop(&mut self) {
        self.activity.moved(self.number);
    }
}

impl http_body::Body for TrackedBody {
    type Data = Bytes;
    type Error = RpcError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RpcError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        // A poll for the next piece of a response means that the peer has accepted the last one.
        if self.half == Direction::Answer || polled.is_ready() {
            self.activity.moved(self.number);
        }
        if self.half == if polled.is_ready() { Direction::Answer } else { Direction::Request } {
            self.activity.waits(self.number);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}
