//! Context of one call: the caller, its deadline, and the facts noted for its records.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use stationmaster_image::ImageError;
use stationmaster_train::route::StopIndex;
use tokio_util::sync::CancellationToken;

use super::{caller::Caller, error::StepError};
use crate::{
    audit::{Entry, Event, TrainRef},
    ledger::{Ledger, Run, RunId},
};

/// Read access to the sessions that a station has bound.
#[derive(Clone, Copy)]
pub struct KnownSessions<'a> {
    /// The station's ledger.
    pub ledger: &'a Ledger,
    /// The station's id.
    pub station: &'a str,
}

/// The phases of a step and the duration of each.
#[derive(Debug)]
pub struct Phases(Mutex<PhaseTimings>);

#[derive(Debug)]
struct PhaseTimings {
    since: Instant,
    done: Vec<(&'static str, Duration)>,
}

impl Default for Phases {
    fn default() -> Self {
        Self(Mutex::new(PhaseTimings { since: Instant::now(), done: Vec::new() }))
    }
}

/// The context of one call.
pub struct CallContext<'a> {
    /// The caller.
    pub caller: Caller,
    /// The facts known so far, for the records of the call.
    pub facts: Mutex<Entry>,
    /// Cancelled when the caller disconnects.
    pub cancel: CancellationToken,
    /// The train sessions known to the station; `None` outside a service.
    pub sessions: Option<KnownSessions<'a>>,
    /// Whether the caller may already see details of the step's subject.
    pub may_tell: AtomicBool,
    /// The caller's deadline.
    pub deadline: Option<Instant>,
    /// Receives the progress of the step: its name, bytes done, bytes expected (0: unknown).
    pub progress: &'a (dyn Fn(&'static str, u64, u64) + Sync),
    /// The durations of its phases.
    pub phases: Phases,
}

impl CallContext<'static> {
    /// Makes the context of a step without a caller: part of another step, or of a command outside a service.
    pub(in crate::protocol) fn background(why: &str) -> Self {
        Self {
            caller: Caller::service(why),
            facts: Default::default(),
            cancel: Default::default(),
            sessions: None,
            may_tell: AtomicBool::new(true),
            deadline: None,
            progress: &|_, _, _| {},
            phases: Default::default(),
        }
    }
}

impl CallContext<'_> {
    /// Notes a fact for the records of the step.
    pub fn annotate(&self, note: impl FnOnce(&mut Entry)) {
        note(&mut self.facts.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
    }

    /// Returns the facts noted so far.
    pub fn annotations(&self) -> Entry {
        self.facts.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Refuses a train that no grant covers, and notes it for the records.
    pub(in crate::protocol) fn authorize_train(
        &self,
        id: &str,
        session_id: &[u8],
        stop: Option<StopIndex>,
    ) -> Result<(), StepError> {
        self.annotate(|entry| {
            let stop = stop.map(StopIndex::get).unwrap_or_default();
            entry.train = Some(TrainRef { id: id.to_owned(), session: const_hex::encode(session_id), stop });
        });
        self.caller.may_have_train(id)?;
        self.authorize_session(session_id)?;
        self.may_tell();
        Ok(())
    }

    /// Refuses a session that was opened here for a train that no grant of the caller covers, whatever its `@id` states now.
    fn authorize_session(&self, session_id: &[u8]) -> Result<(), StepError> {
        let Some(known) = &self.sessions else { return Ok(()) };
        match known.ledger.session(known.station, session_id)? {
            Some(session) => self.caller.may_have_train(&session.train_id),
            None => Ok(()),
        }
    }

    /// Returns the error for something that does not exist, or the refusal for a caller whose grants name trains: it does not
    /// learn what exists.
    pub(in crate::protocol) fn authorize_absence(&self, error: StepError) -> StepError {
        self.caller.may_have_any_train().err().unwrap_or(error)
    }

    /// Notes that the caller may see details of the step's subject: a train that a grant covers, or content that the caller has
    /// sent.
    pub(in crate::protocol) fn may_tell(&self) {
        self.may_tell.store(true, Ordering::Release);
    }

    /// Returns the outcome that the caller may see. A caller whose grants name certain trains learns of no others: until the
    /// step is known to concern one of its trains, a missing image, an image without a train and an image of another train are
    /// refused alike.
    #[must_use]
    pub fn conceal(&self, error: StepError) -> StepError {
        let is_known = self.may_tell.load(Ordering::Acquire) || self.caller.may_have_any_train().is_ok();
        if is_known || !error.reveals_existence() { error } else { StepError::Hidden(Box::new(error)) }
    }

    /// Whether an outcome must not reveal what exists, not even by its timing.
    #[must_use]
    pub fn hides(&self, outcome: &StepError) -> bool {
        matches!(outcome, StepError::TrainNotGranted | StepError::Hidden(_))
    }

    /// Refuses a run whose train or key no grant covers, and notes it for the records. Every step calls this before it changes a
    /// run or returns anything about it.
    pub(in crate::protocol) fn authorize_run(&self, run: &Run) -> Result<(), StepError> {
        self.annotate(|entry| entry.run = Some(run.id.to_string()));
        self.authorize_train(&run.train_id, &run.session_id, Some(run.stop_index))?;
        self.caller.may_use_train_key(&run.key_label, &run.train_id)
    }

    /// Notes which stop of the train the step is about.
    pub(in crate::protocol) fn annotate_stop(&self, stop: StopIndex) {
        self.annotate(|entry| entry.train.iter_mut().for_each(|train| train.stop = stop.get()));
    }

    /// Returns a record of the step: the caller and all facts noted so far.
    pub fn audit_entry(&self, event: Event) -> Entry {
        let Entry { call, principal, rpc, .. } = self.caller.entry(event);
        Entry { event, call, principal, rpc, ..self.annotations() }
    }

    /// Ends a phase: attributes the time since the previous one to `name`.
    pub(in crate::protocol) fn end_phase(&self, name: &'static str) {
        let mut phases = self.phases.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let now = Instant::now();
        let spent = now - std::mem::replace(&mut phases.since, now);
        phases.done.push((name, spent));
    }

    /// Logs the durations of a step's phases and its outcome.
    pub(in crate::protocol) fn log_phases(&self, step: &'static str, run: RunId, ended: &'static str) {
        let phases = self.phases.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let spent: Vec<String> = phases.done.iter().map(|(name, spent)| format!("{name} {}", spent.as_millis())).collect();
        let total: Duration = phases.done.iter().map(|(_, spent)| *spent).sum();
        let ms = u64::try_from(total.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(target: "stationmaster::step", step, run = run.to_string(), ms, phases = spent.join(", "), "{ended}");
    }

    /// Fails when the call was cancelled.
    pub fn check_cancelled(&self) -> Result<(), StepError> {
        if self.is_cancelled() { Err(StepError::Cancelled) } else { Ok(()) }
    }

    /// As [`CallContext::check_cancelled`], for readers of images.
    pub(in crate::protocol) fn check_reading(&self) -> Result<(), ImageError> {
        if self.is_cancelled() { Err(ImageError::Cancelled) } else { Ok(()) }
    }

    fn is_cancelled(&self) -> bool {
        let late = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        late || self.cancel.is_cancelled()
    }
}
