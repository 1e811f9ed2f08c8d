//! Runs steps for calls: on a blocking thread, limited in number, cancelled when the caller disconnects, and recorded before the
//! caller receives the outcome.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use stationmaster_image::{archive::memory_budget, oci::reference::ImageSource};
use stationmaster_proto as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Extensions, Response};

use super::{
    Deadline,
    call_record::{self, Recorder},
    refusals::Refusals,
    shares::{Bounds, Shares},
    status::{Answer, AnswerStream, Reason, Refusal, RpcError, unrecorded},
    uploads::Uploads,
};
use crate::{
    audit::{Entry, Event},
    authz::Rpc,
    protocol::{CallContext, Caller, Station, StepError},
};

/// A refusal that must not reveal whether an image or run exists is returned at a multiple of this after its call: reading an
/// image takes tens of milliseconds, and hundreds if the engine is busy.
const HIDDEN_EVERY: Duration = Duration::from_secs(1);
/// Minimum interval between progress messages.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
/// Number of messages that may be queued for a slow caller; progress beyond them is dropped.
const WAITING: usize = 8;

/// The station's steps, limited in number by the configuration; no principal can use all places. Cheap to clone.
#[derive(Clone)]
pub struct Steps {
    pub(super) station: Arc<Station>,
    refusals: Arc<Refusals>,
    places: Shares,
    pub(super) uploads: Uploads,
    running: TaskTracker,
    cancel: CancellationToken,
}

impl Steps {
    /// Makes the runner within `bounds`. No archive is received once `draining` is cancelled; `cancel` ends all steps.
    #[must_use]
    pub fn new(
        station: Arc<Station>,
        refusals: Arc<Refusals>,
        bounds: Bounds,
        (draining, cancel): (CancellationToken, CancellationToken),
    ) -> Self {
        let (places, uploads) = (Shares::new(bounds.runs), Uploads::new(bounds, draining));
        Self { station, refusals, places, uploads, running: TaskTracker::new(), cancel }
    }

    /// Waits until every step has ended, including its roll-back.
    pub async fn ended(&self) {
        self.running.close();
        self.running.wait().await;
    }

    /// Returns the caller.
    ///
    /// # Errors
    /// When the request has no caller.
    pub fn caller(&self, extensions: &Extensions) -> Result<Caller, RpcError> {
        Ok(call_record::of(extensions)?)
    }

    /// Records a refusal before it is returned.
    ///
    /// # Errors
    /// The refusal, or that it cannot be recorded.
    pub async fn checked<T>(&self, caller: &Caller, outcome: Result<T, Refusal>) -> Result<T, RpcError> {
        self.recorder().checked(caller, outcome).await
    }

    /// Records a refusal; returns the error for the caller.
    pub async fn refuse(&self, caller: &Caller, refusal: Refusal) -> RpcError {
        self.recorder().refuse(caller, refusal).await
    }

    fn recorder(&self) -> Recorder<'_> {
        Recorder(&self.refusals)
    }

    /// Runs a step with one response.
    pub async fn unary<T: Send + 'static>(
        &self,
        caller: Caller,
        extensions: &Extensions,
        step: impl FnOnce(&Station, &CallContext<'_>) -> Result<T, StepError> + Send + 'static,
    ) -> Result<T, RpcError> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let started = self.start(
            caller.clone(),
            Deadline::of(extensions),
            |_, _, _| {},
            step,
            move |answer| {
                let _ = sender.send(answer);
            },
        );
        let _cancel_when_dropped = self.checked(&caller, started).await?.drop_guard();
        match receiver.await {
            Ok(answered) => Ok(answered.in_time().await?),
            Err(_) => Err(Refusal::from(Reason::Invariant).into()),
        }
    }

    /// Runs a step that streams progress and ends with one outcome.
    pub async fn stream<T: Send + 'static>(
        &self,
        caller: Caller,
        extensions: &Extensions,
        progress: impl Fn(pb::Progress) -> T + Send + Sync + 'static,
        step: impl FnOnce(&Station, &CallContext<'_>) -> Result<T, StepError> + Send + 'static,
    ) -> Answer<AnswerStream<T>> {
        self.stream_parts(caller, extensions, progress, |station, step_of_call, _| step(station, step_of_call)).await
    }

    /// As [`Steps::stream`], for a step that works on the image with this name.
    pub async fn stream_on_image<T: Send + 'static>(
        &self,
        extensions: &Extensions,
        image: &str,
        progress: impl Fn(pb::Progress) -> T + Send + Sync + 'static,
        step: impl FnOnce(&Station, &ImageSource, &CallContext<'_>) -> Result<T, StepError> + Send + 'static,
    ) -> Answer<AnswerStream<T>> {
        let caller = self.caller(extensions)?;
        let image: ImageSource = self.checked(&caller, image.parse().map_err(Refusal::from)).await?;
        self.stream(caller, extensions, progress, move |station, step_of_call| step(station, &image, step_of_call)).await
    }

    /// As [`Steps::stream`], for a step that sends more than its outcome: at the caller's pace, so that only a few messages are
    /// in memory.
    pub async fn stream_parts<T: Send + 'static>(
        &self,
        caller: Caller,
        extensions: &Extensions,
        progress: impl Fn(pb::Progress) -> T + Send + Sync + 'static,
        step: impl FnOnce(&Station, &CallContext<'_>, &Parts<T>) -> Result<T, StepError> + Send + 'static,
    ) -> Answer<AnswerStream<T>> {
        let (sender, receiver) = mpsc::channel::<Answered<T>>(WAITING);
        let reporter = Reporter::new();
        let to_caller = sender.clone();
        let report = move |name: &'static str, done, total| {
            if reporter.is_due() {
                // A caller that does not read loses progress, never the outcome.
                let message = progress(pb::Progress { step: name.to_owned(), bytes_done: done, bytes_total: total });
                let _ = to_caller.try_send(Answered::now(message));
            }
        };
        let parts = Parts(sender.clone());
        let step = move |station: &Station, step_of_call: &CallContext<'_>| step(station, step_of_call, &parts);
        let started = self.start(caller.clone(), Deadline::of(extensions), report, step, move |answer| {
            let _ = sender.blocking_send(answer);
        });
        let cancel = self.checked(&caller, started).await?;
        // The guard belongs to the stream: a caller that disconnects drops both.
        let guard = cancel.drop_guard();
        let stream = ReceiverStream::new(receiver).then(Answered::in_time).map(move |item| {
            let _guard = &guard;
            item.map_err(RpcError::from)
        });
        Ok(Response::new(Box::pin(stream)))
    }

    fn start<T: Send + 'static>(
        &self,
        caller: Caller,
        deadline: Option<Instant>,
        report: impl Fn(&'static str, u64, u64) + Send + Sync + 'static,
        step: impl FnOnce(&Station, &CallContext<'_>) -> Result<T, StepError> + Send + 'static,
        answer: impl FnOnce(Answered<T>) + Send + 'static,
    ) -> Result<CancellationToken, Refusal> {
        let begun = Instant::now();
        if !self.station.recovered.load(Ordering::Acquire) {
            return Err(not_ready(&self.station));
        }
        let place = self.places.take(caller.principal());
        let place = place.map_err(|full| Refusal::full(caller.principal(), full, "limits.runs", "limits.runs"))?;
        caller.account();
        let cancel = self.cancel.child_token();
        if let Some(deadline) = deadline {
            let (late, ended) = (cancel.clone(), cancel.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = tokio::time::sleep_until(deadline.into()) => late.cancel(),
                    () = ended.cancelled() => {}
                }
            });
        }
        let (station, refusals, all) = (Arc::clone(&self.station), Arc::clone(&self.refusals), self.cancel.clone());
        let of_call = cancel.clone();
        self.running.spawn_blocking(move || {
            let _place = place;
            let circumstances = CallContext {
                caller,
                facts: Default::default(),
                sessions: Some(station.known_sessions()),
                may_tell: Default::default(),
                cancel: of_call.clone(),
                deadline,
                progress: &report,
                phases: Default::default(),
            };
            let outcome = step(&station, &circumstances).map_err(|error| circumstances.conceal(error));
            let hides = outcome.as_ref().is_err_and(|error| circumstances.hides(error));
            of_call.cancel();
            let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            let withdrawn = circumstances.caller.is_withdrawn();
            let outcome = outcome.map_err(|error| match error {
                error if error.is_cancelled() && withdrawn => Refusal::withdrawn(),
                error if error.is_cancelled() && late => Reason::DeadlineExceeded.into(),
                error if error.is_cancelled() && all.is_cancelled() => Reason::ShuttingDown.into(),
                error => Refusal::of_step(error, Some(station.images.place())),
            });
            let outcome = recorded((&station, &refusals), &circumstances, outcome);
            answer(Answered { outcome, not_before: hides.then(|| next_multiple(begun)) });
            memory_budget::give_back();
        });
        Ok(cancel)
    }
}

/// An outcome, and the earliest time at which it is returned.
struct Answered<T> {
    outcome: Result<T, Refusal>,
    not_before: Option<Instant>,
}

impl<T> Answered<T> {
    fn now(message: T) -> Self {
        Self { outcome: Ok(message), not_before: None }
    }

    /// Returns the outcome at its time. Only the call itself waits: the step has already released its place.
    async fn in_time(self) -> Result<T, Refusal> {
        if let Some(moment) = self.not_before {
            tokio::time::sleep_until(moment.into()).await;
        }
        self.outcome
    }
}

/// Returns the next time at which a refusal that must hide what exists may be returned.
fn next_multiple(begun: Instant) -> Instant {
    let steps = begun.elapsed().as_millis() / HIDDEN_EVERY.as_millis() + 1;
    begun + HIDDEN_EVERY * u32::try_from(steps).unwrap_or(u32::MAX)
}

/// Returns why no step may run yet.
fn not_ready(station: &Station) -> Refusal {
    let place = station.images.place();
    let text = match (station.images_away.load(Ordering::Acquire), &station.containers) {
        (true, Some(_)) => return Reason::EngineUnavailable.status(format!("{place} does not answer")),
        (true, None) => format!("{place} cannot be used"),
        (false, _) => format!("what an earlier process left in {place} is not yet recovered"),
    };
    Reason::NotReady.status(text).with_meta("component", station.images.kind().name)
}

/// Channel for the messages that a step sends before its outcome.
pub struct Parts<T>(mpsc::Sender<Answered<T>>);

impl<T> Parts<T> {
    /// Sends a message, once the caller has room for it.
    ///
    /// # Errors
    /// When the call was cancelled: the caller disconnected or exceeded a time limit, or the service ends.
    pub fn send(&self, station: &Station, step: &CallContext<'_>, part: T) -> Result<(), StepError> {
        step.check_cancelled()?;
        let sent = station.handle.block_on(async {
            tokio::select! {
                biased;
                () = step.cancel.cancelled() => false,
                sent = self.0.send(Answered::now(part)) => sent.is_ok(),
            }
        });
        if sent { Ok(()) } else { Err(StepError::Cancelled) }
    }
}

/// Returns an outcome after it has been recorded on disk, or counted.
fn recorded<T>(
    (station, refusals): (&Station, &Refusals),
    step: &CallContext<'_>,
    outcome: Result<T, Refusal>,
) -> Result<T, Refusal> {
    match outcome {
        Ok(value) => {
            let entry = Entry { outcome: Some("ok".to_owned()), ..step.audit_entry(Event::Step) };
            let completed = entry.run.clone().filter(|_| entry.rpc.as_deref() == Some(Rpc::PostRun.name()));
            station.keys.audit().record(entry).map_err(|error| unrecorded(&error))?;
            if let Some(run) = completed
                && let Err(error) = run.parse().and_then(|id| station.ledger.completion_recorded(id))
            {
                tracing::warn!(%run, %error, "the next start records the completion of this run again");
            }
            Ok(value)
        }
        Err(refusal) => Err(refusals.refuse_blocking(&step.caller, refusal, step.audit_entry(Event::Refusal))),
    }
}

/// Limits the rate of progress messages.
struct Reporter {
    start: Instant,
    next_ms: AtomicU64,
}

impl Reporter {
    fn new() -> Self {
        Self { start: Instant::now(), next_ms: AtomicU64::new(0) }
    }

    fn is_due(&self) -> bool {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let due = now >= self.next_ms.load(Ordering::Relaxed);
        if due {
            self.next_ms.store(now + PROGRESS_EVERY.as_millis() as u64, Ordering::Relaxed);
        }
        due
    }
}
