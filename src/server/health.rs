//! Health: every component that services depend on is asked every two seconds. What follows goes to `grpc.health.v1`, the
//! `StatusService`, the log and the service manager.

use std::{
    fmt::Display,
    pin::Pin,
    time::{Duration, Instant, SystemTime},
};

use futures_util::future::join_all;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic_health::{
    ServingStatus,
    pb::health_server::{Health, HealthServer},
    server::{HealthReporter, health_reporter},
};

use super::manager::Manager;
use crate::{
    pb::{
        image_service_server::SERVICE_NAME as IMAGES, key_service_server::SERVICE_NAME as KEYS,
        status_service_server::SERVICE_NAME as STATUS, train_service_server::SERVICE_NAME as TRAINS,
    },
    service::standing::{Component, State, serves},
};

const EVERY: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(5);

/// Every service of ours.
const NAMES: &[&str] = &[KEYS, IMAGES, TRAINS, STATUS];
/// Those that use keys or images.
pub const ALL: &[&str] = &[KEYS, IMAGES, TRAINS];
/// Those that work on images.
pub const OF_IMAGES: &[&str] = &[IMAGES, TRAINS];
/// The one that opens trains.
pub const OF_TRAINS: &[&str] = &[TRAINS];

/// An answer to "are you there?"; the text says what is wrong and what to do.
type Answer = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Something that services depend on.
struct Probe {
    ask: Box<dyn Fn() -> Answer + Send + Sync>,
    /// A question that is not answered yet, and since when. No second one is asked beside it: what hangs takes one thread, not one
    /// every two seconds.
    open: Option<(JoinHandle<Result<(), String>>, Instant)>,
}

impl Probe {
    async fn answer(&mut self) -> Result<(), String> {
        let (mut asked, since) = self.open.take().unwrap_or_else(|| (tokio::spawn((self.ask)()), Instant::now()));
        let patience = PATIENCE.saturating_sub(since.elapsed());
        match tokio::time::timeout(patience, &mut asked).await {
            Ok(answer) => answer.unwrap_or_else(|error| Err(format!("looking at it failed: {error}"))),
            Err(_) => {
                self.open = Some((asked, since));
                Err("no answer".to_owned())
            }
        }
    }
}

/// What is asked, and the board on which the answers are kept.
pub struct Probes {
    all: Vec<Probe>,
    board: watch::Sender<Vec<Component>>,
}

impl Default for Probes {
    fn default() -> Self {
        Self { all: Vec::new(), board: watch::Sender::new(Vec::new()) }
    }
}

impl Probes {
    /// Asks one more: `name` is its name for people and programs, `services` are those that depend on it.
    #[must_use]
    pub fn with<F, E>(
        mut self,
        name: &'static str,
        services: &'static [&'static str],
        ask: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display,
    {
        let ask = Box::new(move || -> Answer {
            let answer = ask();
            Box::pin(async move { answer.await.map_err(|error| error.to_string()) })
        });
        self.all.push(Probe { ask, open: None });
        self.board.send_modify(|components| {
            components.push(Component { name, services, state: State::Starting, since: SystemTime::now() });
        });
        self
    }

    /// A reader of the board.
    pub fn components(&self) -> watch::Receiver<Vec<Component>> {
        self.board.subscribe()
    }
}

/// The service and what sets it, everything NOT_SERVING yet.
pub(super) async fn service() -> (HealthServer<impl Health>, HealthReporter) {
    let (reporter, service) = health_reporter();
    set_all(&reporter, ServingStatus::NotServing).await;
    (service, reporter)
}

/// Sets every service, and the whole.
pub(super) async fn set_all(reporter: &HealthReporter, status: ServingStatus) {
    for name in [&[""], NAMES].concat() {
        reporter.set_service_status(name, status).await;
    }
}

/// Asks every two seconds and sets what follows. The service manager hears that the service is ready after the first look; `ready` is
/// called the first time that everything serves.
pub(super) async fn watch(
    reporter: HealthReporter,
    probes: Probes,
    manager: Manager,
    stop: CancellationToken,
    ready: impl FnOnce() + Send,
) {
    let Probes { mut all, board } = probes;
    let (mut ready, mut first) = (Some(ready), true);
    loop {
        let answers = join_all(all.iter_mut().map(Probe::answer)).await;
        // The drain's NOT_SERVING must be the last word.
        if stop.is_cancelled() {
            return;
        }
        let changed = board.send_if_modified(|components| {
            let mut changed = false;
            for (component, answer) in components.iter_mut().zip(answers) {
                changed |= note(component, answer);
            }
            changed
        });
        if changed {
            let now = board.borrow().clone();
            for name in [&[""], NAMES].concat() {
                let status = if serves(&now, name) { ServingStatus::Serving } else { ServingStatus::NotServing };
                reporter.set_service_status(name, status).await;
            }
            manager.status(summary(&now));
            if serves(&now, "")
                && let Some(ready) = ready.take()
            {
                ready();
            }
        }
        if std::mem::take(&mut first) {
            manager.ready();
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Takes a component's answer; says in the log when its state or its reason is another one.
fn note(component: &mut Component, answer: Result<(), String>) -> bool {
    let state = answer.map_or_else(State::Unusable, |()| State::Ready);
    if component.state == state {
        return false;
    }
    let was_unusable = matches!(component.state, State::Unusable(_));
    match &state {
        State::Unusable(error) => tracing::warn!(what = component.name, error, "cannot be used"),
        _ => tracing::info!(what = component.name, "can be used"),
    }
    if !(was_unusable && matches!(state, State::Unusable(_))) {
        component.since = SystemTime::now();
    }
    component.state = state;
    true
}

/// One line about everything.
fn summary(components: &[Component]) -> String {
    if serves(components, "") {
        return "SERVING".to_owned();
    }
    let missing: Vec<_> = components
        .iter()
        .filter_map(|component| component.reason().map(|reason| format!("{}: {reason}", component.name)))
        .collect();
    format!("NOT_SERVING: {}", missing.join("; "))
}
