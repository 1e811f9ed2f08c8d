//! `grpc.health.v1`: SERVING only while token and engine answer and, for trains, it is known whom to believe.

use std::{fmt::Display, pin::Pin, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use tonic_health::{
    ServingStatus,
    pb::health_server::{Health, HealthServer},
    server::{HealthReporter, health_reporter},
};

use crate::pb::{
    image_service_server::SERVICE_NAME as IMAGES, key_service_server::SERVICE_NAME as KEYS,
    train_service_server::SERVICE_NAME as TRAINS,
};

const EVERY: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(5);

/// An answer to "are you there?"; the text says what is wrong, for the log.
pub type Answer = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;
type Question = Arc<dyn Fn() -> Answer + Send + Sync>;

/// Whom to ask.
#[derive(Clone)]
pub struct Probes {
    token: Question,
    engine: Question,
    trust: Question,
}

impl Probes {
    /// Asks the token, the engine, and whether it is known whom to believe.
    pub fn new<T, E, U, A, B, C>(
        token: impl Fn() -> T + Send + Sync + 'static,
        engine: impl Fn() -> E + Send + Sync + 'static,
        trust: impl Fn() -> U + Send + Sync + 'static,
    ) -> Self
    where
        T: Future<Output = Result<(), A>> + Send + 'static,
        E: Future<Output = Result<(), B>> + Send + 'static,
        U: Future<Output = Result<(), C>> + Send + 'static,
        A: Display,
        B: Display,
        C: Display,
    {
        Self { token: question(token), engine: question(engine), trust: question(trust) }
    }
}

fn question<F, E>(ask: impl Fn() -> F + Send + Sync + 'static) -> Question
where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Display,
{
    Arc::new(move || {
        let answer = ask();
        Box::pin(async move {
            match tokio::time::timeout(PATIENCE, answer).await {
                Ok(answer) => answer.map_err(|error| error.to_string()),
                Err(_) => Err("no answer".to_owned()),
            }
        })
    })
}

/// The service and what sets it, everything NOT_SERVING yet.
pub(super) async fn service() -> (HealthServer<impl Health>, HealthReporter) {
    let (reporter, service) = health_reporter();
    all(&reporter, ServingStatus::NotServing).await;
    (service, reporter)
}

/// Sets every service, and the whole.
pub(super) async fn all(reporter: &HealthReporter, status: ServingStatus) {
    for name in ["", KEYS, IMAGES, TRAINS] {
        reporter.set_service_status(name, status).await;
    }
}

/// Asks every two seconds and sets what follows; `ready` is called the first time that everything serves.
pub(super) async fn watch(reporter: HealthReporter, probes: Probes, stop: CancellationToken, ready: impl FnOnce() + Send) {
    let mut ready = Some(ready);
    let mut before = (None, None, None);
    loop {
        let (token, engine, trust) = tokio::join!((probes.token)(), (probes.engine)(), (probes.trust)());
        // The drain's NOT_SERVING must be the last word.
        if stop.is_cancelled() {
            return;
        }
        let now = (Some(token.is_ok()), Some(engine.is_ok()), Some(trust.is_ok()));
        if now != before {
            note("token", before.0, &token);
            note("engine", before.1, &engine);
            note("trust file", before.2, &trust);
            let both = token.is_ok() && engine.is_ok();
            let all = both && trust.is_ok();
            for (name, serves) in [("", all), (KEYS, token.is_ok()), (IMAGES, both), (TRAINS, all)] {
                let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
                reporter.set_service_status(name, status).await;
            }
            if all && let Some(ready) = ready.take() {
                ready();
            }
        }
        before = now;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

fn note(what: &str, before: Option<bool>, now: &Result<(), String>) {
    match now {
        Ok(()) if before != Some(true) => tracing::info!(what, "can be used"),
        Err(error) if before != Some(false) => tracing::warn!(what, error, "cannot be used"),
        _ => {}
    }
}
