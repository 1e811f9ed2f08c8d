//! Errors of commands: a message, its reason, a hint, an exit code.

use std::{collections::BTreeMap, fmt, io, path::Path, process::ExitCode};

use stationmaster_keystore::{KeystoreError, pin::PinError};
use stationmaster_system::files::{explained, words};
use tonic::Code;

use super::hints;
use crate::{
    config::ConfigError,
    dev::DevError,
    ledger::LedgerError,
    server::{ServerError, TlsFault},
    service::status::{Failure, Reason, Refusal, RpcError},
};

/// Exit codes; `--help` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Exit {
    Done = 0,
    Other = 1,
    Usage = 2,
    NotFound = 3,
    Refused = 4,
    State = 5,
    Unavailable = 6,
    Permission = 7,
    Broken = 8,
    /// A second officer must approve the act.
    Pending = 9,
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The rule of exit codes (`docs/cli.md`): a failure with a reason has that reason's exit code, a failure with a status code alone that
/// code's, and an error of the operating system that of its kind.
impl Exit {
    /// Returns the exit code of an error of the operating system. A missing file has the same code for every purpose.
    pub(super) fn of_io(kind: io::ErrorKind) -> Self {
        use io::ErrorKind as K;
        match kind {
            // The named file has another kind or other contents than required, or cannot exist.
            K::IsADirectory | K::NotADirectory | K::InvalidFilename | K::InvalidData | K::InvalidInput | K::AddrNotAvailable => {
                Self::Usage
            }
            K::NotFound => Self::NotFound,
            K::AlreadyExists | K::DirectoryNotEmpty | K::AddrInUse | K::ResourceBusy => Self::State,
            K::ConnectionRefused | K::TimedOut | K::StorageFull | K::QuotaExceeded => Self::Unavailable,
            K::PermissionDenied | K::ReadOnlyFilesystem => Self::Permission,
            _ => Self::Other,
        }
    }

    /// Returns the exit code of a reason.
    fn of_reason(reason: Reason) -> Self {
        use Reason as R;
        match reason {
            R::MalformedRequest | R::ImageRefInvalid => Self::Usage,
            R::ImageNotFound | R::BaseMissing | R::MasterUnknown | R::KeyNotFound | R::RunNotFound => Self::NotFound,
            R::ConfigMalformed
            | R::ArchiveMalformed
            | R::TrainAuthenticationFailed
            | R::UnwrapFailed
            | R::RouteRejected
            | R::KeyUntrusted
            | R::TrainReplayed
            | R::ImagePolicyViolation
            | R::RunUnchanged
            | R::LimitExceeded => Self::Refused,
            R::KeyLabelExists
            | R::IdempotencyMismatch
            | R::RunState
            | R::TrainBusy
            | R::ImageChanged
            | R::Overloaded
            | R::HsmSessionsExhausted => Self::State,
            R::NotReady
            | R::DirectoryNotShared
            | R::NoEngine
            | R::HsmUnavailable
            | R::EngineUnavailable
            | R::EngineRefused
            | R::DiskFull
            | R::AuditUnavailable
            | R::ShuttingDown
            | R::DeadlineExceeded => Self::Unavailable,
            R::PeerUnknown | R::RpcNotAllowed | R::KeyNotAllowed | R::HsmPinLatched => Self::Permission,
            R::Cancelled | R::MechanismUnsupported | R::HsmFault | R::Invariant | R::AuditChainBroken => Self::Other,
        }
    }

    /// Returns the exit code of a status code without a reason.
    fn of_code(code: Code) -> Self {
        match code {
            Code::InvalidArgument => Self::Usage,
            Code::NotFound => Self::NotFound,
            Code::Unauthenticated | Code::PermissionDenied => Self::Permission,
            Code::Unavailable | Code::DeadlineExceeded => Self::Unavailable,
            Code::Aborted | Code::AlreadyExists | Code::ResourceExhausted => Self::State,
            Code::FailedPrecondition => Self::Refused,
            _ => Self::Other,
        }
    }
}

/// Why a command failed.
#[derive(Debug, Clone)]
pub(super) struct CliError {
    pub exit: Exit,
    pub code: Option<Code>,
    pub reason: Option<String>,
    pub message: String,
    pub metadata: BTreeMap<String, String>,
    pub hint: Option<String>,
}

impl CliError {
    pub(super) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, code: None, reason: None, message: message.to_string(), metadata: BTreeMap::new(), hint: None }
    }

    pub(super) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(super) fn other(message: impl fmt::Display) -> Self {
        Self::new(Exit::Other, message)
    }

    /// Returns the error of an operation on a file; `what` is the operation.
    pub(super) fn file(what: &str, path: &Path, error: &io::Error) -> Self {
        let exit = Exit::of_io(error.kind());
        if error.kind() == io::ErrorKind::PermissionDenied {
            if error.raw_os_error().is_none() {
                return Self::new(exit, format!("cannot {what} {}: {error}", path.display()));
            }
            // With the owner, the mode, the requesting user, and a remedy.
            let raw = error.raw_os_error().map_or(io::ErrorKind::PermissionDenied.into(), io::Error::from_raw_os_error);
            return Self::new(exit, format!("cannot {what} {}: {}", path.display(), words(&explained(path, raw))));
        }
        let hint = hints::of_file(path, error);
        Self { hint, ..Self::new(exit, format!("cannot {what} {}: {}", path.display(), words(error))) }
    }

    /// Returns the error of creating a directory, or of writing into it.
    pub(super) fn directory(what: &str, path: &Path, error: &io::Error) -> Self {
        let hint = hints::of_directory(path, error);
        Self { hint, ..Self::file(what, path, error) }
    }

    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn of_reason(reason: Reason, message: impl fmt::Display) -> Self {
        let mut error = Self::new(Exit::of_reason(reason), message);
        error.code = Some(reason.code());
        error.reason = Some(reason.name().to_owned());
        error
    }
}

impl From<RpcError> for CliError {
    fn from(status: RpcError) -> Self {
        let failure = Failure::from(&status);
        // The transport's message for a lost connection has no content.
        if failure.reason.is_none() && failure.message == "transport error" {
            let lost = Self::new(Exit::Unavailable, "the connection was lost before the response arrived")
                .with_hint("the outcome is unknown; repeat the same call to learn it");
            return Self { code: Some(failure.code), ..lost };
        }
        Self {
            exit: failure.reason.map_or_else(|| Exit::of_code(failure.code), Exit::of_reason),
            code: Some(failure.code),
            hint: hints::hint(&failure),
            reason: failure.reason_name,
            message: if failure.message.is_empty() { failure.code.description().to_owned() } else { failure.message },
            metadata: failure.metadata,
        }
    }
}

impl From<KeystoreError> for CliError {
    fn from(error: KeystoreError) -> Self {
        // An administrator at the token sees the token's own message; only the exit code follows the reasons.
        let mut failure = match &error {
            // No reason exists for these: no call initialises tokens, or names a module.
            KeystoreError::TokenExists { .. } => Self::new(Exit::State, &error),
            KeystoreError::ModuleUnusable { module, .. } if !module.exists() => Self::new(Exit::NotFound, &error),
            _ => Self::of_reason(Refusal::from(error.clone()).reason(), &error),
        };
        failure.hint = error.hint();
        failure
    }
}

impl From<PinError> for CliError {
    fn from(error: PinError) -> Self {
        Self { hint: error.hint(), ..Self::new(Exit::of_io(error.kind()), error) }
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        let hint = error.hint();
        let exit = match &error {
            ConfigError::Read { source, .. } => Exit::of_io(source.kind()),
            _ => Exit::Usage,
        };
        Self::new(exit, error).with_hint(hint)
    }
}

impl From<ServerError> for CliError {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Keystore(error) => {
                let mut failure = Self::from(error);
                // Sessions that a crash left open end with time: no administrator has to act, as code 5 would say.
                if failure.reason.as_deref() == Some(Reason::HsmSessionsExhausted.name()) {
                    failure.exit = Exit::Unavailable;
                }
                failure
            }
            ServerError::Pin(error) => error.into(),
            ServerError::Ledger(error) => error.into(),
            ServerError::State(error) => error.into(),
            ServerError::Held { .. } => {
                Self::new(Exit::State, error).with_hint("stop the other service, or choose another directory or socket")
            }
            ServerError::Unfit(_) => {
                let reason = Reason::MechanismUnsupported;
                let mut failure = Self::of_reason(reason, error)
                    .with_hint("`key show LABEL` lists the mechanisms that the token supports for a key");
                // The configuration names the key, and a retry does not help.
                failure.exit = Exit::Usage;
                failure
            }
            ServerError::Tls(TlsFault { kind, ref hint, .. }) => {
                let hint = hint.clone().unwrap_or_else(|| "check cert, key, client_ca and client_crl in [listen.tcp]".to_owned());
                Self::new(Exit::of_io(kind), error).with_hint(hint)
            }
            ServerError::Io { ref source, .. } => {
                let hint = match source.kind() {
                    io::ErrorKind::NotADirectory => {
                        Some("a file has this name, or the name of a parent: move it, or name another directory")
                    }
                    kind => hints::of_listening(kind),
                };
                let exit = Exit::of_io(source.kind());
                Self { hint: hint.map(str::to_owned), ..Self::new(exit, error) }
            }
            ServerError::Audit(error) => error.into(),
            error => Self::other(error),
        }
    }
}

impl From<LedgerError> for CliError {
    fn from(error: LedgerError) -> Self {
        let exit = match &error {
            LedgerError::Absent(_) | LedgerError::NoSuchRun(_) | LedgerError::NoSuchSession(_) => Exit::NotFound,
            LedgerError::Closed { source, .. } => Exit::of_io(source.kind()),
            LedgerError::DiskFull => Exit::of_io(io::ErrorKind::StorageFull),
            LedgerError::Newer { .. }
            | LedgerError::Older { .. }
            | LedgerError::StateChanged(_)
            | LedgerError::InState(_)
            | LedgerError::ReleasedBefore => Exit::State,
            _ => Exit::Other,
        };
        let hint = error.hint().map(str::to_owned);
        Self { hint, ..Self::new(exit, error) }
    }
}

impl From<DevError> for CliError {
    fn from(error: DevError) -> Self {
        match error {
            DevError::Token(error) => error.into(),
            DevError::StationId { ref hint, .. } => {
                let hint = hint.clone();
                Self::usage(error).with_hint(hint)
            }
            DevError::Pin(error) => error.into(),
            DevError::Server(error) => error.into(),
            DevError::NoSoftHsm => {
                Self::new(Exit::Unavailable, error).with_hint("apt-get install softhsm2, or set SOFTHSM2_MODULE")
            }
            DevError::Io { ref source, .. } => Self::new(Exit::of_io(source.kind()), error),
            error => Self::other(error),
        }
    }
}

#[cfg(test)]
mod tests;
