//! `grpc.health.v1`: SERVING only while everything that a service leans on can be used.

use std::{fmt::Display, pin::Pin, sync::Arc, time::Duration};

use futures_util::future::join_all;
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

/// Every service of ours.
pub const ALL: &[&str] = &[KEYS, IMAGES, TRAINS];
/// Those that work on images.
pub const OF_IMAGES: &[&str] = &[IMAGES, TRAINS];
/// The one that opens trains.
pub const OF_TRAINS: &[&str] = &[TRAINS];

/// An answer to "are you there?"; the text says what is wrong, for the log.
type Answer = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Something that services lean on.
#[derive(Clone)]
struct Probe {
    what: &'static str,
    of: &'static [&'static str],
    ask: Arc<dyn Fn() -> Answer + Send + Sync>,
}

/// Whom to ask.
#[derive(Clone, Default)]
pub struct Probes(Vec<Probe>);

impl Probes {
    /// Asks one more: `what` is its name in the log, `of` are the services that lean on it.
    #[must_use]
    pub fn with<F, E>(
        mut self,
        what: &'static str,
        of: &'static [&'static str],
        ask: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display,
    {
        let ask = Arc::new(move || -> Answer {
            let answer = ask();
            Box::pin(async move {
                match tokio::time::timeout(PATIENCE, answer).await {
                    Ok(answer) => answer.map_err(|error| error.to_string()),
                    Err(_) => Err("no answer".to_owned()),
                }
            })
        });
        self.0.push(Probe { what, of, ask });
        self
    }
}

/// The service and what sets it, everything NOT_SERVING yet.
pub(super) async fn service() -> (HealthServer<impl Health>, HealthReporter) {
    let (reporter, service) = health_reporter();
    all(&reporter, ServingStatus::NotServing).await;
    (service, reporter)
}

/// Sets every service, and the whole.
pub(super) async fn all(reporter: &HealthReporter, status: ServingStatus) {
    for name in [&[""], ALL].concat() {
        reporter.set_service_status(name, status).await;
    }
}

/// Asks every two seconds and sets what follows; `ready` is called the first time that everything serves.
pub(super) async fn watch(reporter: HealthReporter, probes: Probes, stop: CancellationToken, ready: impl FnOnce() + Send) {
    let mut ready = Some(ready);
    let mut before: Vec<Option<bool>> = vec![None; probes.0.len()];
    loop {
        let answers = join_all(probes.0.iter().map(|probe| (probe.ask)())).await;
        // The drain's NOT_SERVING must be the last word.
        if stop.is_cancelled() {
            return;
        }
        let now: Vec<_> = answers.iter().map(|answer| Some(answer.is_ok())).collect();
        if now != before {
            for ((probe, before), answer) in probes.0.iter().zip(&before).zip(&answers) {
                note(probe.what, *before, answer);
            }
            let serves = |name: &str| {
                probes
                    .0
                    .iter()
                    .zip(&answers)
                    .filter(|(probe, _)| name.is_empty() || probe.of.contains(&name))
                    .all(|(_, answer)| answer.is_ok())
            };
            for name in [&[""], ALL].concat() {
                let status = if serves(name) { ServingStatus::Serving } else { ServingStatus::NotServing };
                reporter.set_service_status(name, status).await;
            }
            if serves("")
                && let Some(ready) = ready.take()
            {
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
