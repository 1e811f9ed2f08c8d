//! The reasons of the error contract and the canonical code of each.

use std::time::Duration;

use tonic::Code;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal => $code:ident,)*) => {
        /// Reason for a refusal: the `reason` of the `ErrorInfo` that every error carries.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason { $($(#[$doc])* $variant,)* }

        impl Reason {
            /// All reasons, in the order of the contract's table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns its name on the wire.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Returns its canonical code.
            #[must_use]
            pub fn code(self) -> Code {
                match self { $(Self::$variant => Code::$code,)* }
            }
        }
    };
}

reasons! {
    /// The request itself is invalid. The caller's fault; retrying does not help.
    MalformedRequest = "MALFORMED_REQUEST" => InvalidArgument,
    /// The train's configuration cannot be parsed. The image's fault.
    ConfigMalformed = "CONFIG_MALFORMED" => InvalidArgument,
    /// The image reference cannot be parsed, or is of a kind that is not accepted. The caller's fault.
    ImageRefInvalid = "IMAGE_REF_INVALID" => InvalidArgument,
    /// The image's archive is malformed or hostile. The image's fault.
    ArchiveMalformed = "ARCHIVE_MALFORMED" => InvalidArgument,
    /// The peer did not authenticate.
    PeerUnknown = "PEER_UNKNOWN" => Unauthenticated,
    /// The peer may not call this RPC.
    RpcNotAllowed = "RPC_NOT_ALLOWED" => PermissionDenied,
    /// The key may not be used for this purpose, or not by this peer.
    KeyNotAllowed = "KEY_NOT_ALLOWED" => PermissionDenied,
    /// The engine does not have the image.
    ImageNotFound = "IMAGE_NOT_FOUND" => NotFound,
    /// The engine does not have the train's base image: pull it, then retry.
    BaseMissing = "BASE_MISSING" => NotFound,
    /// No master image with this name is allowed by the station, or the engine does not have it: allow it, or pull it.
    MasterUnknown = "MASTER_UNKNOWN" => NotFound,
    /// The service has no such key.
    KeyNotFound = "KEY_NOT_FOUND" => NotFound,
    /// No such run.
    RunNotFound = "RUN_NOT_FOUND" => NotFound,
    /// The token already has a key with that label.
    KeyLabelExists = "KEY_LABEL_EXISTS" => AlreadyExists,
    /// The idempotency key was used for another request.
    IdempotencyMismatch = "IDEMPOTENCY_MISMATCH" => AlreadyExists,
    /// The train is not what its signers signed, or not for this station's key. One reason for every cryptographic failure: the
    /// detail is in the log under `refusal_id`.
    TrainAuthenticationFailed = "TRAIN_AUTHENTICATION_FAILED" => FailedPrecondition,
    /// The wrapped key cannot be unwrapped with this key. One reason for every cause: the detail is in the log under
    /// `refusal_id`.
    UnwrapFailed = "UNWRAP_FAILED" => FailedPrecondition,
    /// The train's route does not include this station, or not now.
    RouteRejected = "ROUTE_REJECTED" => FailedPrecondition,
    /// The station does not trust a key in the train.
    KeyUntrusted = "KEY_UNTRUSTED" => FailedPrecondition,
    /// This station has finished this stop of the train, or a later one; metadata `run_id`. An administrator may allow one more
    /// run. Also a session that was opened here with another `@id`, creator or stop; metadata `differs`.
    TrainReplayed = "TRAIN_REPLAYED" => FailedPrecondition,
    /// The run is in a state that does not allow this; metadata `state`.
    RunState = "RUN_STATE" => FailedPrecondition,
    /// The run left nothing: the content that PostRun would seal equals what PreRun opened; metadata `run_id`. Commit the run's
    /// container, then call again; `no_results` confirms that this is intended. The run stays prepared.
    RunUnchanged = "RUN_UNCHANGED" => FailedPrecondition,
    /// The image contains something that a train must not contain.
    ImagePolicyViolation = "IMAGE_POLICY_VIOLATION" => FailedPrecondition,
    /// A wrong PIN was tried once, and is not tried again before it is changed at its source.
    HsmPinLatched = "HSM_PIN_LATCHED" => FailedPrecondition,
    /// A train was to be opened into a directory, and the service shares none with the engine.
    DirectoryNotShared = "DIRECTORY_NOT_SHARED" => FailedPrecondition,
    /// A train was to be opened into volumes, and the service's images are in layout directories: only an engine has volumes.
    NoEngine = "NO_ENGINE" => FailedPrecondition,
    /// The container engine refuses, with a message of its own, until an administrator changes something; metadata `engine`.
    EngineRefused = "ENGINE_REFUSED" => FailedPrecondition,
    /// The service has started but is not ready.
    NotReady = "NOT_READY" => FailedPrecondition,
    /// Another step of the same train is in progress.
    TrainBusy = "TRAIN_BUSY" => Aborted,
    /// The image changed while it was read: start over.
    ImageChanged = "IMAGE_CHANGED" => Aborted,
    /// Too many requests at once; the metadata contains the time to wait.
    Overloaded = "OVERLOADED" => ResourceExhausted,
    /// The token has no session left.
    HsmSessionsExhausted = "HSM_SESSIONS_EXHAUSTED" => ResourceExhausted,
    /// A disk of the service is full; metadata `resource`. The administrator must free space.
    DiskFull = "DISK_FULL" => ResourceExhausted,
    /// The request or the train exceeds a limit of the service; metadata `limit`. Retrying does not help.
    LimitExceeded = "LIMIT_EXCEEDED" => ResourceExhausted,
    /// The token does not respond.
    HsmUnavailable = "HSM_UNAVAILABLE" => Unavailable,
    /// The engine does not respond.
    EngineUnavailable = "ENGINE_UNAVAILABLE" => Unavailable,
    /// The operation cannot be recorded, and no operation may be performed unrecorded.
    AuditUnavailable = "AUDIT_UNAVAILABLE" => Unavailable,
    /// The service is shutting down.
    ShuttingDown = "SHUTTING_DOWN" => Unavailable,
    /// The deadline passed; the step may have completed.
    DeadlineExceeded = "DEADLINE_EXCEEDED" => DeadlineExceeded,
    /// The caller cancelled the call; the step may have completed.
    Cancelled = "CANCELLED" => Cancelled,
    /// The token does not support this, and no permitted alternative exists.
    MechanismUnsupported = "MECHANISM_UNSUPPORTED" => Unimplemented,
    /// The token failed.
    HsmFault = "HSM_FAULT" => Internal,
    /// An internal invariant was violated.
    Invariant = "INVARIANT" => Internal,
    /// The audit's hash chain is broken.
    AuditChainBroken = "AUDIT_CHAIN_BROKEN" => DataLoss,
}

impl Reason {
    /// Returns the reason with that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.name() == name)
    }

    /// Whether an `ErrorInfo` names it: for the two reasons that gRPC itself produces, the code is sufficient.
    #[must_use]
    pub fn has_error_info(self) -> bool {
        !matches!(self, Self::DeadlineExceeded | Self::Cancelled)
    }

    /// Returns how long a caller should wait before a retry, if a retry can help.
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

    /// Returns the default message for the caller. It never contains a path, a PIN, text of the token or bytes of the caller.
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
