//! The station: the state that every step needs, and the context of one step.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use stationmaster_image::{
    ImageError,
    oci::reference::{ImageName, ImageSource},
    store::{ImageStore, PinnedImage, working_containers::WorkingContainers},
};
use stationmaster_keystore::KeystoreError;
use stationmaster_train::{envelope::EnvelopeKey, rule::Rule};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::{
    audit::{Entry, Event, TrainRef},
    ledger::{Ledger, Run},
    protocol::{
        AdmittedTrain, AuditedKeys, Caller, KeyUseError, StepError,
        admission::{implicit_rejection::ProvisionalKey, session_binding::KnownSessions},
        checks::rules::{OF_TRUST, Policy},
    },
    trust::{Trust, TrustMode, TrustSnapshot},
};

/// Behaviour of train_lib that is enabled only on request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Compat {
    /// Whether post-run also moves `latest`, whatever tag the call names.
    pub move_latest: bool,
}

/// This station: its keys, its engine, its ledger.
pub struct Station {
    /// The station id as routes name it.
    pub id: String,
    /// Its private keys, and the log of their use.
    pub keys: AuditedKeys,
    /// Its image store.
    pub images: Arc<dyn ImageStore>,
    /// Its working containers; `None` on a station without an engine.
    pub containers: Option<Arc<dyn WorkingContainers>>,
    /// Its ledger of runs.
    pub ledger: Ledger,
    /// Directory of the spools.
    pub spool_directory: PathBuf,
    /// Bytes that a spool leaves free on its disk.
    pub spool_reserve: u64,
    /// The directory that service and engine share, where trains are opened on request.
    pub shared_directory: Option<PathBuf>,
    /// The keys that it trusts.
    pub trust: Trust,
    /// The rules that it enforces on trains.
    pub policy: Policy,
    /// Behaviour of train_lib that is enabled only on request.
    pub compat: Compat,
    /// The runtime for calls to the token.
    pub handle: Handle,
    /// Train sessions that a call is working on.
    pub active_stops: Mutex<HashSet<Vec<u8>>>,
    /// Whether a roll-back has failed since startup (the engine was unavailable):
    /// [`retry_recovery`](crate::protocol::steps::recover::retry_recovery) tries again.
    pub recovery_pending: AtomicBool,
    /// Whether [`recover`](crate::protocol::steps::recover::recover) has recovered the runs of an earlier process; no step may
    /// run before.
    pub recovered: AtomicBool,
    /// Whether the last check of the image store failed.
    pub images_away: AtomicBool,
}

impl Station {
    /// Whether the keys in the train itself are trusted.
    pub(in crate::protocol) fn is_embedded(&self) -> bool {
        self.trust.mode() == TrustMode::Embedded
    }

    /// Whether a rule is enforced on trains. The rules about keys do not apply where the keys in the train are trusted.
    pub(in crate::protocol) fn enforces(&self, rule: Rule) -> bool {
        self.policy.rules.holds(rule) && !(self.is_embedded() && OF_TRUST.contains(&rule))
    }

    /// Returns the keys that this station trusts now. A changed trust file is recorded in the audit before it takes effect here.
    ///
    /// # Errors
    /// When the trust file is not available, or the change cannot be recorded.
    pub fn trusted_keys(&self) -> Result<TrustSnapshot, StepError> {
        let believed = self.trust.current().map_err(StepError::TrustNotReady)?;
        if let Some(digest) = believed.new_file() {
            let entry = Entry::of(Event::TrustChanged).with("read_by", "service").with("sha256", const_hex::encode(digest));
            self.keys.audit().record(entry)?;
            self.trust.acknowledge(digest);
        }
        Ok(believed)
    }

    /// Returns the id of the image that a call names.
    pub(in crate::protocol) fn image_id(&self, image: &ImageSource) -> Result<String, StepError> {
        self.images.resolve(image).map_err(|error| match error {
            ImageError::NotFound => StepError::ImageNotFound(image.clone()),
            other => other.into(),
        })
    }

    /// Returns the run with that id.
    pub(in crate::protocol) fn run(&self, id: &str) -> Result<Run, StepError> {
        self.ledger.run(id)?.ok_or_else(|| StepError::RunNotFound(id.to_owned()))
    }

    /// Claims a train session for one call. The session is the unit because it has one stop here, whatever its route states.
    pub(in crate::protocol) fn claim(&self, session_id: &[u8]) -> Result<Claim<'_>, StepError> {
        let key = session_id.to_vec();
        let mut busy = self.active_stops.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if !busy.insert(key.clone()) {
            return Err(StepError::Busy);
        }
        Ok(Claim { station: self, key })
    }

    /// Unwraps a train's envelope key: one decryption in the token. A key that cannot be unwrapped is no error here: the step
    /// continues to its end with a substitute.
    pub(in crate::protocol) fn unwrap_envelope_key(
        &self,
        train: &AdmittedTrain,
        step: &CallContext<'_>,
    ) -> Result<ProvisionalKey, StepError> {
        let wrapped = train.wrapped_key().ok_or(StepError::Invariant("own stop without a key"))?;
        // Made in every case, so that its time reveals nothing.
        let substitute = EnvelopeKey::random().map_err(|_| StepError::Invariant("no random key"))?;
        let key = match wrapped.decode() {
            Err(error) => Err(format!("the wrapped key: {error}")),
            Ok(wrapped) => {
                let asked = (&step.caller, step.annotations());
                let unwrapped = self.handle.block_on(self.keys.unwrap_for_train(train, asked, &wrapped, step.deadline));
                match unwrapped {
                    Err(KeyUseError::Keystore(KeystoreError::UnwrapFailed)) => {
                        Err("the wrapped key cannot be unwrapped".to_owned())
                    }
                    other => {
                        let bytes: Zeroizing<Vec<u8>> = other?;
                        EnvelopeKey::from_unwrapped(&bytes).map_err(|_| "the unwrapped key has no cipher's length".to_owned())
                    }
                }
            }
        };
        Ok(ProvisionalKey::new(key, substitute))
    }

    /// Signs a digest with the train signature scheme: one signature in the token.
    pub(in crate::protocol) fn sign(
        &self,
        train: &AdmittedTrain,
        digest: &[u8],
        step: &CallContext<'_>,
    ) -> Result<Vec<u8>, StepError> {
        let asked = (&step.caller, step.annotations());
        Ok(self.handle.block_on(self.keys.sign_for_train(train, asked, digest, step.deadline))?)
    }
}

/// Returns the private name that keeps an image for a run.
pub(in crate::protocol) fn private_name(station: &Station, kept: PinnedImage, run: &Run) -> Result<ImageName, ImageError> {
    Ok(station.images.pin_tag(kept, &run.image.parse()?, &run.id))
}

/// Exclusive claim of a call on a train session.
pub(in crate::protocol) struct Claim<'a> {
    station: &'a Station,
    key: Vec<u8>,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.station.active_stops.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).remove(&self.key);
    }
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

    /// Notes which train the step is about; refuses one that no grant covers.
    pub(in crate::protocol) fn authorize_train(&self, id: &str, session_id: &[u8], stop: Option<u32>) -> Result<(), StepError> {
        self.annotate(|entry| {
            let stop = stop.unwrap_or_default();
            entry.train = Some(TrainRef { id: id.to_owned(), session: const_hex::encode(session_id), stop });
        });
        self.caller.may_have_train(id)?;
        self.may_have_session(session_id)?;
        self.may_tell();
        Ok(())
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
    pub fn told(&self, error: StepError) -> StepError {
        let tells = self.may_tell.load(Ordering::Acquire) || self.caller.may_have_any_train().is_ok();
        if tells || !error.tells_of_what_is_there() { error } else { StepError::Hidden(Box::new(error)) }
    }

    /// Whether an outcome must not reveal what exists, not even by its timing.
    #[must_use]
    pub fn hides(&self, outcome: &StepError) -> bool {
        matches!(outcome, StepError::TrainNotGranted | StepError::Hidden(_))
    }

    /// Notes which run the step is about; refuses one whose train or key no grant covers. Every step calls this before it
    /// changes a run or returns anything about it.
    pub(in crate::protocol) fn authorize_run(&self, run: &Run) -> Result<(), StepError> {
        self.annotate(|entry| entry.run = Some(run.id.clone()));
        self.authorize_train(&run.train_id, &run.session_id, Some(run.stop_index))?;
        self.caller.may_use_train_key(&run.key_label, &run.train_id)
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
    pub(in crate::protocol) fn log_phases(&self, step: &'static str, run: &str, ended: &'static str) {
        let phases = self.phases.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let spent: Vec<String> = phases.done.iter().map(|(name, spent)| format!("{name} {}", spent.as_millis())).collect();
        let total: Duration = phases.done.iter().map(|(_, spent)| *spent).sum();
        let ms = u64::try_from(total.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(target: "stationmaster::step", step, run, ms, phases = spent.join(", "), "{ended}");
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
