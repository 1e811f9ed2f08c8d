//! Maps errors of steps to reasons on the wire.

use stationmaster_image::{
    EngineSays, ImageError,
    oci::reference::{ImageSource, looks_like_short_id},
};
use stationmaster_train::{config::TrainConfigError, rule::Rule};

use super::{Reason, Refusal, named};
use crate::{
    audit::AuditError,
    key_states::KeyStatesError,
    ledger::{LedgerError, RunId},
    protocol::{KeyOwner, StepError, UntrustedKey},
    trust::{FileError, TrustError},
};

/// Without a place: for commands, which have no station.
impl From<StepError> for Refusal {
    fn from(error: StepError) -> Self {
        Self::of_step(error, None)
    }
}

/// Without a place: for names that cannot be read.
impl From<ImageError> for Refusal {
    fn from(error: ImageError) -> Self {
        Self::of_image(error, None)
    }
}

impl Refusal {
    /// Makes the refusal for a step's error. `place` is where the station's image store is ([`ImageStore::place`]); it may differ
    /// from the engine that the caller's `docker` uses, so errors about a missing image name it.
    ///
    /// [`ImageStore::place`]: stationmaster_image::store::ImageStore::place
    #[must_use]
    pub fn of_step(error: StepError, place: Option<&str>) -> Self {
        match error {
            StepError::Image(error) => Self::of_image(error, place),
            StepError::Rule { rule, detail } => rule_broken(rule, &detail),
            StepError::Cancelled => Reason::Cancelled.into(),
            StepError::Keystore(error) => error.into(),
            StepError::Untrusted(detail) => Self::train_authentication(&detail),
            StepError::Config(TrainConfigError::LimitExceeded { limit }) => {
                Self::from(Reason::LimitExceeded).with_meta("limit", limit)
            }
            StepError::Config(error) => Reason::ConfigMalformed.status(error.to_string()),
            StepError::TrainNotGranted => train_not_granted(),
            StepError::Hidden(cause) => train_not_granted().with_detail(&cause),
            StepError::SessionDiffers { differs, run } => session_differs(differs, run),
            StepError::KeyNotGranted => Reason::KeyNotAllowed.status("the train's key is not granted for this call"),
            StepError::Audit(error) => unrecorded(&error),
            StepError::ImageNotFound(image) => image_not_found(&image, place),
            StepError::NotATrain => Reason::ConfigMalformed.status("the image holds no train config: it is not a train"),
            StepError::Route(error) => Reason::RouteRejected.status(error.to_string()),
            StepError::ForeignRouteKey => Reason::RouteRejected.status(error.to_string()),
            StepError::RouteKeyNotInForce { label, state } => Reason::RouteRejected
                .status(format!("the route's entry for this station names the train key \"{}\", which is {state}", named(&label))),
            StepError::KeyStatesNotReady(error) => key_states_unknown(&error),
            StepError::KeyUntrusted(key) => key_untrusted(&key),
            StepError::TrustNotReady(error) => {
                let detail = format!("{error} ({})", error.hint());
                Reason::NotReady
                    .status(
                        "this station has no trust file that can be used: an administrator creates one with `stationmaster trust add` \
                         (the service's log says where it is looked for)",
                    )
                    .with_meta("component", "trust")
                    .with_fault(&detail)
            }
            StepError::BaseMissing(base) => {
                let text = format!("the station does not have the train's base image, {base}{}", looked_in(place));
                Reason::BaseMissing.status(text).with_meta("image", base)
            }
            StepError::MasterUnknown { what, wanted: None } => Reason::MasterUnknown.status(what),
            StepError::MasterUnknown { what, wanted: Some(name) } => {
                Reason::MasterUnknown.status(format!("{what}: \"{}\"", named(&name))).with_meta("master", named(&name))
            }
            StepError::RunNotFound(id) => {
                Reason::RunNotFound.status(format!("the station has no run \"{}\"", named(&id))).with_meta("run_id", named(&id))
            }
            StepError::NoRunOfImage(image) => Reason::RunNotFound
                .status(format!("the station has no run of the train in {image}"))
                .with_meta("image", image.to_string()),
            StepError::RunState { id, state } => Reason::RunState
                .status(format!("the run is {}", state.as_str()))
                .with_meta("state", state.as_str())
                .with_meta("run_id", id.to_string()),
            StepError::Replayed { run, stop } => Reason::TrainReplayed
                .status(format!(
                    "this station has finished this train (stop {stop}): no state of it is opened here again, unless an administrator \
                     allows one more run"
                ))
                .with_meta("run_id", run.to_string()),
            StepError::NoSharedDirectory => Reason::DirectoryNotShared.into(),
            StepError::IdempotencyMismatch => Reason::IdempotencyMismatch.into(),
            StepError::Busy => Reason::TrainBusy.into(),
            StepError::ImageChanged => Reason::ImageChanged.into(),
            StepError::Request(message) => Reason::MalformedRequest.status(message),
            // An administrator's command changed the run first.
            StepError::Ledger(LedgerError::StateChanged(_)) => Reason::TrainBusy.into(),
            StepError::Ledger(LedgerError::DiskFull) => disk_full("ledger", &error),
            StepError::Unchanged { id, image } => Reason::RunUnchanged
                .status(if image.is_empty() {
                    "the run left nothing: its results are what pre-run opened".to_owned()
                } else {
                    format!("the run left nothing: {image} is still the image that pre-run opened")
                })
                .with_meta("run_id", id.to_string()),
            StepError::TrustNotKept(TrustError::File(FileError::Write { ref source, .. })) if is_full(source) => {
                disk_full("state", &error)
            }
            StepError::TrustNotKept(_) | StepError::Ledger(_) | StepError::Invariant(_) => {
                let id = uuid::Uuid::now_v7().to_string();
                Self::from(Reason::Invariant).with_meta("error_id", id).with_fault(&error)
            }
        }
    }
}

/// Maps an audit error. Nothing is done unrecorded, and a caller learns no more than whether the disk is full.
#[must_use]
pub fn unrecorded(error: &AuditError) -> Refusal {
    // The audit's own thread logs this once, because every call fails with it.
    let refusal = match error {
        AuditError::Io { source, .. } if is_full(source) => {
            Reason::AuditUnavailable.status("the disk under the service's audit is full").with_meta("resource", "audit")
        }
        _ => Reason::AuditUnavailable.into(),
    };
    refusal.with_detail(error)
}

/// Maps the error that the states of the train keys are not known: none of these keys is used.
#[must_use]
pub fn key_states_unknown(error: &KeyStatesError) -> Refusal {
    let detail = format!("{error} ({})", error.hint());
    Reason::NotReady
        .status("the states of this station's train keys are not known: an administrator restores their file (the service's log names it)")
        .with_meta("component", "keys")
        .with_fault(&detail)
}

/// Returns the same refusal for a train that is not granted and for one that does not exist: a caller whose grants name certain
/// trains learns nothing of others.
fn train_not_granted() -> Refusal {
    Reason::RpcNotAllowed.status("this call is granted for certain trains only, and none of them is what was named")
}

/// The session's own train id is not included: it may be another caller's.
fn session_differs(differs: &str, run: Option<RunId>) -> Refusal {
    let what = match differs {
        "train-id" => "as another train (its @id differs)",
        "creator" => "as another creator's",
        _ => "at another stop (its place on the route differs)",
    };
    let text = format!(
        "this station has opened this train session before, {what}: neither @id nor the route is signed, so one of the two was changed on \
         its way. Nothing was opened"
    );
    let refusal = Reason::TrainReplayed.status(text).with_meta("differs", differs);
    match run {
        Some(run) => refusal.with_meta("run_id", run.to_string()),
        None => refusal,
    }
}

/// A full disk is never reported as an overload: waiting does not free space.
fn disk_full(resource: &str, error: &dyn std::fmt::Display) -> Refusal {
    Reason::DiskFull
        .status(format!("the disk under the service's {resource} is full"))
        .with_meta("resource", resource)
        .with_fault(error)
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

/// The key's fingerprint is public; the id that it is stated for is the train's own text, and is logged only.
fn key_untrusted(key: &UntrustedKey) -> Refusal {
    let UntrustedKey { who, id, fingerprint, changed, rule } = key;
    let (whose, command) = match who {
        KeyOwner::Creator => ("the creator's key".to_owned(), "creator"),
        KeyOwner::Stop(index) => (format!("the key of stop {index}"), "station"),
    };
    let known = if *changed {
        "another key is trusted for this id; ask its owner before you trust the new one"
    } else {
        "compare the fingerprint with its owner over another channel"
    };
    Reason::KeyUntrusted
        .status(format!("{whose} is not one that this station trusts: {known}, then `stationmaster trust add {command}`"))
        .with_meta("who", who.to_string())
        .with_meta("fingerprint", fingerprint.as_str())
        .with_meta("rule", rule.name())
        .with_detail(&format!("{who} {id:?}, {fingerprint}"))
}

impl Refusal {
    fn of_image(error: ImageError, place: Option<&str>) -> Self {
        match &error {
            ImageError::Reference(message) => Reason::ImageRefInvalid.status(*message).with_field("image", *message),
            ImageError::NotFound => Reason::ImageNotFound.status(format!("{}{}", Reason::ImageNotFound.text(), looked_in(place))),
            ImageError::PathMissing => Reason::ArchiveMalformed.status("the image has no /opt"),
            ImageError::Malformed(what) => Reason::ArchiveMalformed.status(format!("the image's archive is malformed: {what}")),
            ImageError::MalformedAt { what, place } => {
                Reason::ArchiveMalformed.status(format!("the image's archive is malformed: {what}: {place}"))
            }
            ImageError::Foreign { what, kind, convert } => Reason::ArchiveMalformed
                .status(format!("{what} is {kind}"))
                .with_meta("kind", *kind)
                .with_meta("convert", *convert),
            ImageError::NotOne { is_named, names } => {
                let reason = if *is_named { Reason::ImageNotFound } else { Reason::ArchiveMalformed };
                reason.status(error.to_string()).with_meta("images", names)
            }
            ImageError::MemoryTaken => Reason::Overloaded
                .status(error.to_string())
                .with_meta("resource", "image-memory")
                .with_meta("limit", "limits.image_memory_mib")
                .with_meta("of", "service"),
            ImageError::Policy { rule, detail } => rule_broken(*rule, detail),
            ImageError::Limit(limit) => Self::from(Reason::LimitExceeded).with_meta("limit", *limit),
            ImageError::DiskFull { place, .. } => disk_full(place, &error),
            ImageError::Cancelled => Reason::Cancelled.into(),
            ImageError::NoEngine => Reason::NoEngine.into(),
            ImageError::EngineUnavailable(_) => match place {
                Some(place) => Reason::EngineUnavailable.status(format!("{place} does not answer")),
                None => Reason::EngineUnavailable.into(),
            }
            .with_fault(&error),
            ImageError::Engine { call, detail } => {
                Reason::EngineUnavailable.status(format!("the container engine failed ({call}): {detail}")).with_fault(&error)
            }
            ImageError::EngineRefused { call, detail, why } => engine_refused(call, detail, *why).with_fault(&error),
            ImageError::Io { .. } | ImageError::BrokeOff(_) | ImageError::InUse => {
                let id = uuid::Uuid::now_v7().to_string();
                Self::from(Reason::Invariant).with_meta("error_id", id).with_fault(&error)
            }
        }
    }
}

/// The rule is public, the detail is not.
fn rule_broken(rule: Rule, detail: &str) -> Refusal {
    let (rule, refusal_id) = (rule.name(), uuid::Uuid::now_v7().to_string());
    Reason::ImagePolicyViolation
        .status(format!("the image breaks the rule {rule}"))
        .with_meta("rule", rule)
        .with_meta("refusal_id", refusal_id)
        .with_detail(&format!("{rule}: {detail:?}"))
}

/// Returns where the station looks for images, in brackets.
fn looked_in(place: Option<&str>) -> String {
    place.map_or_else(String::new, |place| format!(" (it looks in {place})"))
}

/// A reference is ASCII and of bounded length, so it is repeated unchanged.
fn image_not_found(image: &ImageSource, place: Option<&str>) -> Refusal {
    let short_id = match looks_like_short_id(image) {
        true => "; of an id give all of it: sha256: and 64 hex digits (`docker images --no-trunc`)",
        false => "",
    };
    let text = format!("the station has no image {image}{}{short_id}", looked_in(place));
    Reason::ImageNotFound.status(text).with_meta("image", image.to_string())
}

/// The engine's own message is included, because nothing else explains its refusal.
fn engine_refused(call: &str, detail: &str, why: EngineSays) -> Refusal {
    let what = match why {
        EngineSays::DiskFull => "the disk under the container engine is full",
        EngineSays::ReadOnly => "the container engine cannot write",
        EngineSays::Denied => "the container engine does not allow this call",
        EngineSays::TooManyLayers => "the image has more layers than the container engine takes",
        EngineSays::Other => "the container engine refused",
    };
    let refusal = |reason: Reason| reason.status(format!("{what} ({call}): {detail}")).with_meta("engine", why.name());
    match why {
        EngineSays::DiskFull => refusal(Reason::DiskFull).with_meta("resource", "engine"),
        _ => refusal(Reason::EngineRefused),
    }
}
