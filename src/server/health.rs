//! Health checks: checks every component that services depend on every two seconds, and those that are files also when a call
//! asks for health. The states are published through `grpc.health.v1`, the `StatusService`, the log and the service manager.

#[cfg(test)]
mod tests;

use std::{
    fmt::Display,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant, SystemTime},
};

use futures_util::future::join_all;
use stationmaster_proto::{
    image_service_server::SERVICE_NAME as IMAGES, key_service_server::SERVICE_NAME as KEYS,
    status_service_server::SERVICE_NAME as STATUS, train_service_server::SERVICE_NAME as TRAINS,
};
use tokio::{
    sync::{Mutex, mpsc, oneshot, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tonic_health::{
    ServingStatus,
    pb::health_server::{Health, HealthServer},
    server::{HealthReporter, health_reporter},
};

use super::manager::Manager;
use crate::service::standing::{Board, Component, State, serves};

const INTERVAL: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(5);
/// Minimum time between two checks that calls request: it limits the cost that callers can cause.
const MIN_INTERVAL: Duration = Duration::from_millis(50);
/// Maximum number of calls that wait for the next check.
const MAX_REQUESTS: usize = 256;

/// All services of this project.
const NAMES: &[&str] = &[KEYS, IMAGES, TRAINS, STATUS];
/// The services that use keys or images.
pub const ALL: &[&str] = &[KEYS, IMAGES, TRAINS];
/// The services that work on images.
pub const OF_IMAGES: &[&str] = &[IMAGES, TRAINS];
/// The services that open trains.
pub const OF_TRAINS: &[&str] = &[TRAINS];

/// Outcome of a check: usable, perhaps with a warning, or the problem. Each text has the remedy.
pub type Checked = Result<Option<String>, String>;

type Answer = Pin<Box<dyn Future<Output = Checked> + Send>>;

/// A check of a component that services depend on.
struct Probe {
    /// Index of the component on the board.
    place: usize,
    ask: Box<dyn Fn() -> Answer + Send + Sync>,
    /// A check in progress and its start. No second one is started meanwhile: a check that hangs occupies one thread, and not
    /// another one every two seconds.
    open: Option<(JoinHandle<Checked>, Instant)>,
}

impl Probe {
    async fn answer(&mut self) -> Checked {
        let (mut request, since) = self.open.take().unwrap_or_else(|| (tokio::spawn((self.ask)()), Instant::now()));
        let remaining = TIMEOUT.saturating_sub(since.elapsed());
        match tokio::time::timeout(remaining, &mut request).await {
            Ok(answer) => answer.unwrap_or_else(|error| Err(format!("the check failed: {error}"))),
            Err(_) => {
                self.open = Some((request, since));
                Err("no response".to_owned())
            }
        }
    }
}

/// A call that waits until the files have been checked.
type CheckRequest = oneshot::Sender<()>;

/// The probes, and the board that holds their results.
pub struct Probes {
    /// Probes of files, directories and values in memory: cheap enough to run for a call.
    files: Vec<Probe>,
    /// Probes that use a socket or a driver.
    others: Vec<Probe>,
    board: watch::Sender<Vec<Component>>,
    requests: (mpsc::Sender<CheckRequest>, mpsc::Receiver<CheckRequest>),
}

impl Default for Probes {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            others: Vec::new(),
            board: watch::Sender::new(Vec::new()),
            requests: mpsc::channel(MAX_REQUESTS),
        }
    }
}

/// The times at which a component is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Every two seconds.
    Periodic,
    /// Every two seconds, and for each call that asks for health: it is a file, or in memory.
    OnRequest,
}

impl Probes {
    /// Adds a probe: `name` identifies the component in messages and in the API, `services` are those that depend on it.
    #[must_use]
    pub fn with<F, E>(
        self,
        name: &'static str,
        services: &'static [&'static str],
        schedule: Schedule,
        ask: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display,
    {
        self.with_warnings(name, services, schedule, move || {
            let answer = ask();
            async move { answer.await.map(|()| None).map_err(|error| error.to_string()) }
        })
    }

    /// As [`Probes::with`], for a component that may be usable with a warning.
    #[must_use]
    pub fn with_warnings<F: Future<Output = Checked> + Send + 'static>(
        mut self,
        name: &'static str,
        services: &'static [&'static str],
        schedule: Schedule,
        ask: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self {
        let ask = Box::new(move || -> Answer { Box::pin(ask()) });
        let place = self.files.len() + self.others.len();
        let group = if schedule == Schedule::OnRequest { &mut self.files } else { &mut self.others };
        group.push(Probe { place, ask, open: None });
        self.board.send_modify(|components| {
            components.push(Component { name, services, state: State::Starting, since: SystemTime::now() });
        });
        self
    }

    /// Returns a reader of the board.
    #[must_use]
    pub fn board(&self) -> Board {
        Board::new(self.board.subscribe(), self.requests.0.clone())
    }
}

/// Returns the health service and its reporter, with every service NOT_SERVING.
pub(super) async fn service() -> (HealthServer<impl Health>, HealthReporter) {
    let (reporter, service) = health_reporter();
    set_all(&reporter, ServingStatus::NotServing).await;
    (service, reporter)
}

/// Sets the status of every service and of the whole server.
pub(super) async fn set_all(reporter: &HealthReporter, status: ServingStatus) {
    for name in [&[""], NAMES].concat() {
        reporter.set_service_status(name, status).await;
    }
}

/// Checks every two seconds and publishes the states. The service manager is notified of readiness after the first check;
/// `ready` is called the first time that everything serves.
pub(super) async fn watch(
    reporter: HealthReporter,
    probes: Probes,
    manager: Manager,
    stop: CancellationToken,
    ready: impl FnOnce() + Send,
) {
    let Probes { files, others, board, requests: (_, requests) } = probes;
    let publisher =
        StatusPublisher { board, reporter, manager, stop, starting: AtomicUsize::new(2), ready: Mutex::new(Some(ready)) };
    // Separately: a token or an engine that does not respond delays no check of a file.
    tokio::join!(publisher.follow(files, Some(requests)), publisher.follow(others, None));
}

/// Publishes the states of components.
struct StatusPublisher<R> {
    board: watch::Sender<Vec<Component>>,
    reporter: HealthReporter,
    manager: Manager,
    stop: CancellationToken,
    /// Number of groups that have not been checked yet.
    starting: AtomicUsize,
    /// Held while a state is published, so that the last published state is the last known one.
    ready: Mutex<Option<R>>,
}

impl<R: FnOnce() + Send> StatusPublisher<R> {
    /// Checks a group of components until the service ends: periodically, and when a call asks.
    async fn follow(&self, mut group: Vec<Probe>, mut requests: Option<mpsc::Receiver<CheckRequest>>) {
        let mut waiting: Vec<CheckRequest> = Vec::new();
        let mut first = true;
        loop {
            let begun = Instant::now();
            join_all(group.iter_mut().map(async |probe| {
                let answer = probe.answer().await;
                self.note(probe.place, answer).await;
            }))
            .await;
            for request in waiting.drain(..) {
                let _ = request.send(());
            }
            if std::mem::take(&mut first) && self.starting.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.manager.status(summary(&self.board.borrow()));
                self.manager.ready();
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
                request = next(&mut requests) => {
                    waiting.push(request);
                    tokio::time::sleep_until((begun + MIN_INTERVAL).into()).await;
                    waiting.extend(std::iter::from_fn(|| requests.as_mut()?.try_recv().ok()));
                }
            }
        }
    }

    async fn note(&self, place: usize, answer: Checked) {
        let mut ready = self.ready.lock().await;
        // The NOT_SERVING of the drain must be the last published state.
        if self.stop.is_cancelled() || !self.board.send_if_modified(|components| note(&mut components[place], answer)) {
            return;
        }
        let now = self.board.borrow().clone();
        for name in [&[""], NAMES].concat() {
            let status = if serves(&now, name) { ServingStatus::Serving } else { ServingStatus::NotServing };
            self.reporter.set_service_status(name, status).await;
        }
        // A state without a check is not published.
        if self.starting.load(Ordering::Acquire) == 0 {
            self.manager.status(summary(&now));
        }
        if serves(&now, "")
            && let Some(ready) = ready.take()
        {
            ready();
        }
    }
}

/// Returns the next call that asks; pending forever if there is no channel.
async fn next(requests: &mut Option<mpsc::Receiver<CheckRequest>>) -> CheckRequest {
    let request = match requests {
        Some(requests) => requests.recv().await,
        None => None,
    };
    match request {
        Some(request) => request,
        None => std::future::pending().await,
    }
}

/// Stores a component's result; logs it if the state or the reason has changed.
fn note(component: &mut Component, answer: Checked) -> bool {
    let state = match answer {
        Ok(None) => State::Ready,
        Ok(Some(warning)) => State::Warned(warning),
        Err(error) => State::Unusable(error),
    };
    if component.state == state {
        return false;
    }
    let was = (component.state != State::Starting).then(|| component.is_usable());
    match &state {
        State::Unusable(error) => tracing::warn!(what = component.name, error, "cannot be used"),
        State::Warned(warning) => tracing::warn!(what = component.name, warning, "can be used, with a warning"),
        _ => tracing::info!(what = component.name, "can be used"),
    }
    component.state = state;
    if was != Some(component.is_usable()) {
        component.since = SystemTime::now();
    }
    true
}

/// Returns one line that summarises all components.
fn summary(components: &[Component]) -> String {
    let serves = serves(components, "");
    let notable: Vec<_> = components
        .iter()
        .filter(|component| serves || !component.is_usable())
        .filter_map(|component| component.reason().map(|reason| format!("{}: {reason}", component.name)))
        .collect();
    match (serves, &notable[..]) {
        (true, []) => "SERVING".to_owned(),
        (true, _) => format!("SERVING, with a warning: {}", notable.join("; ")),
        (false, _) => format!("NOT_SERVING: {}", notable.join("; ")),
    }
}
