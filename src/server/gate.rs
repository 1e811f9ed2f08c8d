//! What every request passes: who calls and whether they may, the caps on requests, its deadline, its line in the log.

mod caps;
mod enter;

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tonic::{
    body::Body,
    codegen::{
        BoxFuture, Service,
        http::{Request, Response},
    },
    service::Routes,
};
use tower::Layer;

pub use enter::Doorkeeper;

use super::{
    Shutdown,
    observe::{Line, Observed, Slot},
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
    door: Arc<Doorkeeper>,
    patience: Duration,
    shutdown: Shutdown,
}

impl GateLayer {
    pub(super) fn new(limits: &Limits, door: Arc<Doorkeeper>, shutdown: Shutdown) -> Self {
        Self { door, patience: Duration::from_secs(limits.unary_timeout_s), shutdown }
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
        let (layer, mut routes) = (self.layer.clone(), self.routes.clone());
        Box::pin(async move {
            let slot = match layer.door.enter(&mut request, layer.shutdown.draining.is_cancelled()).await {
                Ok(slot) => slot,
                Err(refused) => return Ok(refusal(line, refused)),
            };
            let now = Instant::now();
            let asked = client_timeout(request.headers()).and_then(|timeout| now.checked_add(timeout));
            if let Some(deadline) = asked {
                request.extensions_mut().insert(Deadline(deadline));
            }
            let patience = now + layer.patience;
            let until = asked.map_or(patience, |deadline| deadline.min(patience));
            let answer = Service::<Request<Body>>::call(&mut routes, request);
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

fn refusal(line: Line, refusal: Refusal) -> Response<Body> {
    observed(refusal.into_http(), line, None, None)
}

fn observed(answer: Response<Body>, mut line: Line, slot: Option<Slot>, deadline: Option<Instant>) -> Response<Body> {
    // An answer without a body carries its status in the headers.
    line.read(answer.headers());
    answer.map(|body| Body::new(Observed::new(body, line, slot, deadline)))
}
