//! The reasons of the error contract and the canonical code each of them travels under.

use std::time::Duration;

use tonic::Code;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal => $code:ident,)*) => {
        /// Why a request was refused: the `reason` of the `ErrorInfo` that every error carries.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason { $($(#[$doc])* $variant,)* }

        impl Reason {
            /// Every reason, in the order of the contract's table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name on the wire.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Its canonical code.
            #[must_use]
            pub fn code(self) -> Code {
                match self { $(Self::$variant => Code::$code,)* }
            }
        }
    };
}

reasons! {
    /// The request itself is wrong. The caller's fault; retrying does not help.
    MalformedRequest = "MALFORMED_REQUEST" => InvalidArgument,
    /// The train's configuration cannot be read. The image's fault.
    ConfigMalformed = "CONFIG_MALFORMED" => InvalidArgument,
    /// The image reference cannot be read, or is one we do not take. The caller's fault.
    ImageRefInvalid = "IMAGE_REF_INVALID" => InvalidArgument,
    /// The image's archive is malformed or hostile. The image's fault.
    ArchiveMalformed = "ARCHIVE_MALFORMED" => InvalidArgument,
    /// The peer did not say who it is.
    PeerUnknown = "PEER_UNKNOWN" => Unauthenticated,
    /// The peer may not call this.
    RpcNotAllowed = "RPC_NOT_ALLOWED" => PermissionDenied,
    /// The key may not be used for this, or not by this peer.
    KeyNotAllowed = "KEY_NOT_ALLOWED" => PermissionDenied,
    /// The engine does not have the image.
    ImageNotFound = "IMAGE_NOT_FOUND" => NotFound,
    /// The engine does not have the train's base image: pull it, then retry.
    BaseMissing = "BASE_MISSING" => NotFound,
    /// No master image that this station allows is named so, or the engine does not have it: allow it, or pull it.
    MasterUnknown = "MASTER_UNKNOWN" => NotFound,
    /// No such key among the service's.
    KeyNotFound = "KEY_NOT_FOUND" => NotFound,
    /// No such run.
    RunNotFound = "RUN_NOT_FOUND" => NotFound,
    /// The token already has a key of that label.
    KeyLabelExists = "KEY_LABEL_EXISTS" => AlreadyExists,
    /// The idempotency key was used for another request.
    IdempotencyMismatch = "IDEMPOTENCY_MISMATCH" => AlreadyExists,
    /// The train is not what its signers signed, or not for this station's key. One reason for all of cryptography: the detail
    /// is in the log under `refusal_id`.
    TrainAuthenticationFailed = "TRAIN_AUTHENTICATION_FAILED" => FailedPrecondition,
    /// The wrapped key does not open with this key. One reason for every cause: the detail is in the log under `refusal_id`.
    UnwrapFailed = "UNWRAP_FAILED" => FailedPrecondition,
    /// The train's route does not lead here, or not now.
    RouteRejected = "ROUTE_REJECTED" => FailedPrecondition,
    /// A key in the train is not one this station believes.
    KeyUntrusted = "KEY_UNTRUSTED" => FailedPrecondition,
    /// This station has finished this stop of the train, or a later one; metadata `run_id`. An officer may allow one more run. Also a session
    /// that was opened here with another `@id`, creator or stop; metadata `differs`.
    TrainReplayed = "TRAIN_REPLAYED" => FailedPrecondition,
    /// The run is in a state that does not allow this; metadata `state`.
    RunState = "RUN_STATE" => FailedPrecondition,
    /// The run left nothing: what PostRun would seal is what PreRun opened; metadata `run_id`. Commit the run's container, then call again;
    /// `no_results` says that it is meant. The run stays prepared.
    RunUnchanged = "RUN_UNCHANGED" => FailedPrecondition,
    /// The image holds what a train may not hold.
    ImagePolicyViolation = "IMAGE_POLICY_VIOLATION" => FailedPrecondition,
    /// A wrong PIN was tried once, and is not tried again before it is changed at its source.
    HsmPinLatched = "HSM_PIN_LATCHED" => FailedPrecondition,
    /// A train was to be opened into a directory, and the service has none that it shares with the engine.
    DirectoryNotShared = "DIRECTORY_NOT_SHARED" => FailedPrecondition,
    /// A train was to be opened into volumes, and the service's images are in layout directories: only an engine has volumes.
    NoEngine = "NO_ENGINE" => FailedPrecondition,
    /// The container engine says no, in its own words, and will until a person has changed something; metadata `engine`.
    EngineRefused = "ENGINE_REFUSED" => FailedPrecondition,
    /// The service has started but is not ready.
    NotReady = "NOT_READY" => FailedPrecondition,
    /// Another step of the same train is under way.
    TrainBusy = "TRAIN_BUSY" => Aborted,
    /// The image changed while it was read: start over.
    ImageChanged = "IMAGE_CHANGED" => Aborted,
    /// Too many requests at once; metadata of the time to wait.
    Overloaded = "OVERLOADED" => ResourceExhausted,
    /// The token has no session left.
    HsmSessionsExhausted = "HSM_SESSIONS_EXHAUSTED" => ResourceExhausted,
    /// A disk of the service's is full; metadata `resource`. The operator makes room.
    DiskFull = "DISK_FULL" => ResourceExhausted,
    /// The request or the train is larger than this service takes; metadata `limit`. Retrying does not help.
    LimitExceeded = "LIMIT_EXCEEDED" => ResourceExhausted,
    /// The token does not answer.
    HsmUnavailable = "HSM_UNAVAILABLE" => Unavailable,
    /// The engine does not answer.
    EngineUnavailable = "ENGINE_UNAVAILABLE" => Unavailable,
    /// Nothing may happen unrecorded, and it cannot be recorded.
    AuditUnavailable = "AUDIT_UNAVAILABLE" => Unavailable,
    /// The service is going down.
    ShuttingDown = "SHUTTING_DOWN" => Unavailable,
    /// The deadline passed; the step may have completed.
    DeadlineExceeded = "DEADLINE_EXCEEDED" => DeadlineExceeded,
    /// The caller went away; the step may have completed.
    Cancelled = "CANCELLED" => Cancelled,
    /// The token cannot do this, and no allowed way round exists.
    MechanismUnsupported = "MECHANISM_UNSUPPORTED" => Unimplemented,
    /// The token failed.
    HsmFault = "HSM_FAULT" => Internal,
    /// A promise of this program's own was broken.
    Invariant = "INVARIANT" => Internal,
    /// The audit's chain does not hold.
    AuditChainBroken = "AUDIT_CHAIN_BROKEN" => DataLoss,
}

impl Reason {
    /// The reason of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.name() == name)
    }

    /// Whether an `ErrorInfo` names it: the two that gRPC itself produces say it all with their code.
    #[must_use]
    pub fn has_error_info(self) -> bool {
        !matches!(self, Self::DeadlineExceeded | Self::Cancelled)
    }

    /// How long a caller should wait before it tries the same again, where trying again helps at all.
    #[must_use]
    pub fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Overloaded | Self::HsmSessionsExhausted => Some(Duration::from_millis(500)),
            Self::HsmUnavailable | Self::EngineUnavailable | Self::AuditUnavailable | Self::ShuttingDown => {
                Some(Duration::from_secs(5))
            }
            _ => None,
        }
    }

    /// What the caller is told where nothing more exact may be said. Never a path, a PIN, a token's own text or bytes of theirs.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::MalformedRequest => "the request is malformed",
            Self::ConfigMalformed => "the train's configuration cannot be read",
            Self::ImageRefInvalid => "the image reference is not one this service takes",
            Self::ArchiveMalformed => "the image's archive is malformed",
            Self::PeerUnknown => "the peer is unknown",
            Self::RpcNotAllowed => "this call is not allowed",
            Self::KeyNotAllowed => "the key may not be used for this",
            Self::ImageNotFound => "the station has no image of that name",
            Self::MasterUnknown => "no master image that this station allows was found",
            Self::BaseMissing => "the station does not have the train's base image",
            Self::KeyNotFound => "no such key",
            Self::RunNotFound => "no such run",
            Self::KeyLabelExists => "a key of that label exists",
            Self::IdempotencyMismatch => "the idempotency key was used for another request",
            Self::TrainAuthenticationFailed => "the train could not be authenticated",
            Self::UnwrapFailed => "the wrapped key does not open with this key",
            Self::RouteRejected => "the train's route does not lead here now",
            Self::KeyUntrusted => "the train carries a key this station does not believe",
            Self::TrainReplayed => "this station has finished this train: no state of it is opened here again",
            Self::RunState => "the run's state does not allow this",
            Self::RunUnchanged => "the run left nothing: what would be sealed is what pre-run opened",
            Self::ImagePolicyViolation => "the image holds what a train may not hold",
            Self::HsmPinLatched => "the token's PIN is latched",
            Self::DirectoryNotShared => "the service shares no directory with the engine",
            Self::NoEngine => "the service has no engine: its images are in layout directories",
            Self::EngineRefused => "the container engine refused",
            Self::NotReady => "the service is not ready",
            Self::TrainBusy => "another step of this train is under way",
            Self::ImageChanged => "the image changed meanwhile",
            Self::Overloaded => "too many requests",
            Self::HsmSessionsExhausted => "the token has no session left",
            Self::DiskFull => "a disk of the service's is full",
            Self::LimitExceeded => "larger than this service takes",
            Self::HsmUnavailable => "the token is not available",
            Self::EngineUnavailable => "the container engine is not available",
            Self::AuditUnavailable => "the audit is not available",
            Self::ShuttingDown => "the service is shutting down",
            Self::DeadlineExceeded => "the deadline has passed; the step may have completed",
            Self::Cancelled => "cancelled; the step may have completed",
            Self::MechanismUnsupported => "the token cannot do this",
            Self::HsmFault => "the token failed",
            Self::Invariant => "an internal error",
            Self::AuditChainBroken => "the audit's chain does not hold",
        }
    }
}
