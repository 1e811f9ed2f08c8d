//! What every request passes: the cap on requests at once, its deadline, its line in the log.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;
use tonic::{
    body::Body,
    codegen::{
        BoxFuture, Service,
        http::{Request, Response},
    },
    service::Routes,
};
use tower::Layer;

use super::{
    Shutdown,
    observe::{Line, Observed},
};
use crate::{
    config::Limits,
    service::{
        Deadline,
        deadline::client_timeout,
        status::{Reason, Refusal, in_contract},
    },
};

/// The layer.
#[derive(Clone)]
pub(super) struct GateLayer {
    requests: Arc<Semaphore>,
    patience: Duration,
    shutdown: Shutdown,
}

impl GateLayer {
    pub(super) fn new(limits: &Limits, shutdown: Shutdown) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(limits.requests)),
            patience: Duration::from_secs(limits.unary_timeout_s),
            shutdown,
        }
    }
}

impl Layer<Routes> for GateLayer {
    type Service = Gate;

    fn layer(&self, routes: Routes) -> Gate {
        Gate { layer: self.clone(), routes }
    }
}

/// The service it makes.
#[derive(Clone)]
pub(super) struct Gate {
    layer: GateLayer,
    routes: Routes,
}

impl Service<Request<Body>> for Gate {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.routes, context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let line = Line::begin(&request);
        // Health and reflection answer from memory, and health must answer when all else is busy.
        let slot = if request.uri().path().starts_with("/grpc.") {
            None
        } else if self.layer.shutdown.draining.is_cancelled() {
            return refuse(line, Reason::ShuttingDown.into());
        } else {
            match self.layer.requests.clone().try_acquire_owned() {
                Ok(slot) => Some(slot),
                Err(_) => return refuse(line, Reason::Overloaded.into()),
            }
        };
        let now = Instant::now();
        let asked = client_timeout(request.headers()).and_then(|timeout| now.checked_add(timeout));
        if let Some(deadline) = asked {
            request.extensions_mut().insert(Deadline(deadline));
        }
        let patience = now + self.layer.patience;
        let until = asked.map_or(patience, |deadline| deadline.min(patience));
        let answer = Service::<Request<Body>>::call(&mut self.routes, request);
        Box::pin(async move {
            // Unary answers come within this; streams begin within it, and are held to the caller's deadline by their body.
            let Ok(answer) = tokio::time::timeout_at(until.into(), answer).await else {
                return Ok(refusal(line, Reason::DeadlineExceeded.into()));
            };
            let Ok(answer) = answer;
            if let Some(better) = in_contract(answer.headers()) {
                return Ok(refusal(line, better));
            }
            Ok(observed(answer, line, slot, asked))
        })
    }
}

fn refuse(line: Line, refusal_: Refusal) -> BoxFuture<Response<Body>, Infallible> {
    Box::pin(async move { Ok(refusal(line, refusal_)) })
}

fn refusal(line: Line, refusal: Refusal) -> Response<Body> {
    observed(refusal.into_http(), line, None, None)
}

fn observed(
    answer: Response<Body>,
    mut line: Line,
    slot: Option<tokio::sync::OwnedSemaphorePermit>,
    deadline: Option<Instant>,
) -> Response<Body> {
    // An answer without a body carries its status in the headers.
    line.read(answer.headers());
    answer.map(|body| Body::new(Observed::new(body, line, slot, deadline)))
}
