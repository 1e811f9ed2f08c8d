//! Tower layer that every request passes: authorisation, the caps on requests, the deadline and the access log.

pub mod authorize;
pub mod rate_limit;

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

pub(super) use self::authorize::Admission;
pub use self::authorize::Authorizer;
use super::{
    Shutdown,
    access_log::{Ending, Line, LoggedBody},
};
use crate::{
    config::Limits,
    protocol::Caller,
    service::{
        Deadline, Peer,
        deadline::client_timeout,
        shares::Bounds,
        standing::Board,
        status::{Reason, Refusal, in_contract, refused},
    },
};

/// The RPC before which the components that are files are checked.
const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// The layer.
#[derive(Clone)]
pub(super) struct RequestLayer {
    authorizer: Arc<Authorizer>,
    board: Board,
    timeout: Duration,
    shutdown: Shutdown,
}

impl RequestLayer {
    pub(super) fn new(limits: &Limits, authorizer: Arc<Authorizer>, board: Board, shutdown: Shutdown) -> Self {
        Self { authorizer, board, timeout: Duration::from_secs(limits.unary_timeout_s), shutdown }
    }

    /// Returns a future that resolves when an incomplete response must end, to the refusal that ends it.
    fn ending(&self, caller: Option<(Caller, Peer)>, deadline: Option<Instant>) -> Ending {
        let (authorizer, draining) = (Arc::clone(&self.authorizer), self.shutdown.draining.clone());
        Box::pin(async move {
            let late = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            let over = async {
                match &caller {
                    Some((caller, peer)) => authorizer.withdrawn(caller, peer).await,
                    // A health stream may stay open indefinitely, and would delay the shutdown.
                    None => {
                        draining.cancelled().await;
                        Reason::ShuttingDown.into()
                    }
                }
            };
            tokio::select! {
                () = late => Reason::DeadlineExceeded.into(),
                refusal = over => refusal,
            }
        })
    }
}

/// Returns the limits on steps and uploads.
pub(super) fn bounds(limits: &Limits) -> Bounds {
    Bounds {
        runs: limits.runs,
        uploads: limits.uploads,
        upload_bytes: limits.upload_mib << 20,
        upload_rate: limits.upload_min_kib_s << 10,
        upload_time: Duration::from_secs(limits.upload_s),
    }
}

impl Layer<Routes> for RequestLayer {
    type Service = RequestService;

    fn layer(&self, routes: Routes) -> RequestService {
        RequestService { layer: self.clone(), routes }
    }
}

/// The service of the layer.
#[derive(Clone)]
pub(super) struct RequestService {
    layer: RequestLayer,
    routes: Routes,
}

impl Service<Request<Body>> for RequestService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.routes, context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let (layer, mut routes) = (self.layer.clone(), self.routes.clone());
        let mut line = Line::new(&request, Arc::clone(layer.authorizer.refusals()));
        Box::pin(async move {
            let admission = match layer.authorizer.admit(&mut request, &mut line, layer.shutdown.draining.is_cancelled()).await {
                Ok(admission) => admission,
                Err(refused) => return Ok(refusal(line, refused)),
            };
            let now = Instant::now();
            let asked = client_timeout(request.headers()).and_then(|timeout| now.checked_add(timeout));
            if let Some(deadline) = asked {
                request.extensions_mut().insert(Deadline(deadline));
            }
            let Admission { caller, held } = admission;
            let is_question = caller.is_none();
            if request.uri().path() == HEALTH {
                layer.board.look().await;
            }
            let mut ending = layer.ending(caller, asked);
            let answer = Service::<Request<Body>>::call(&mut routes, request);
            // Unary responses arrive within this; streams begin within it, and their body enforces the rest.
            let answer = tokio::select! {
                biased;
                answer = answer => Ok(answer),
                () = tokio::time::sleep_until((now + layer.timeout).into()) => Err(Reason::DeadlineExceeded.into()),
                // Health responds until the end.
                refusal = &mut ending, if !is_question => Err(refusal),
            };
            let answer = match answer {
                Ok(Ok(answer)) => answer,
                Err(refused) => return Ok(refusal_of_call(line, refused).await),
            };
            if let Some(better) = in_contract(answer.headers()) {
                return Ok(refusal_of_call(line, better).await);
            }
            // Refusals that no handler has seen, or that none has recorded, are recorded here.
            if line.is_unaccounted()
                && let Some(refused) = refused(answer.headers())
            {
                line.account(refused).await;
            }
            line.read(answer.headers());
            Ok(answer.map(|body| Body::new(LoggedBody::new(body, line, Some(held), Some(ending)))))
        })
    }
}

async fn refusal_of_call(line: Line, refused: Refusal) -> Response<Body> {
    let refused = if line.is_unaccounted() { line.account(refused).await } else { refused };
    refusal(line, refused)
}

fn refusal(mut line: Line, refusal: Refusal) -> Response<Body> {
    let answer: Response<Body> = refusal.into_http();
    // A response without a body carries its status in the headers.
    line.read(answer.headers());
    answer.map(|body| Body::new(LoggedBody::new(body, line, None, None)))
}
