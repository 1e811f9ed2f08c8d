//! What a command fails with: a message, its reason, a hint, an exit code.

use std::{collections::BTreeMap, fmt, process::ExitCode};

use tonic::Code;

use super::hints;
use crate::{
    config::ConfigError,
    dev::DevError,
    files::explained,
    keystore::{KeystoreError, pin::PinError},
    ledger::LedgerError,
    server::ServerError,
    service::status::{Failure, Reason, Refusal, RpcError},
};

/// Exit codes, as `--help` lists them.
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
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    /// The exit code of a reason.
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

    /// The exit code of a canonical code that came without a reason.
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

    pub(super) fn file(what: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        let exit = match error.kind() {
            std::io::ErrorKind::NotFound => Exit::NotFound,
            std::io::ErrorKind::PermissionDenied => Exit::Permission,
            _ => Exit::Other,
        };
        match error.kind() {
            // With whose it is, which mode it has, who asks, and what to do.
            std::io::ErrorKind::PermissionDenied => {
                let raw =
                    error.raw_os_error().map_or(std::io::ErrorKind::PermissionDenied.into(), std::io::Error::from_raw_os_error);
                Self::new(exit, format!("cannot {what} {}: {}", path.display(), explained(path, raw)))
            }
            _ => Self::new(exit, format!("cannot {what} {}: {error}", path.display())),
        }
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
        // What the transport says of a connection that broke, in words that say nothing.
        if failure.reason.is_none() && failure.message == "transport error" {
            let lost = Self::new(Exit::Unavailable, "the connection was lost before the answer came")
                .with_hint("it may have been done: the same call again tells");
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
        // An officer at the token sees its own words; only the exit code follows the contract.
        let mut failure = Self::of_reason(Refusal::from(error.clone()).reason(), &error);
        if let KeystoreError::TokenNotFound { .. } = error {
            failure.exit = Exit::NotFound;
        } else if let KeystoreError::TokenExists { .. } = error {
            failure.exit = Exit::State;
        }
        failure.hint = error.hint();
        failure
    }
}

impl From<PinError> for CliError {
    fn from(error: PinError) -> Self {
        let hint = error.hint();
        Self { hint, ..Self::new(Exit::Permission, error) }
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        let hint = error.hint();
        Self::usage(error).with_hint(hint)
    }
}

impl From<ServerError> for CliError {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Keystore(error) => error.into(),
            ServerError::Pin(error) => error.into(),
            ServerError::Ledger(error) => error.into(),
            ServerError::State(error) => error.into(),
            ServerError::Held { .. } => {
                Self::new(Exit::State, error).with_hint("end the other one, or choose another directory or socket")
            }
            ServerError::Unfit(_) => {
                let reason = Reason::MechanismUnsupported;
                let mut failure =
                    Self::of_reason(reason, error).with_hint("`key show LABEL` lists what the token can do with a key");
                // The configuration names it, and trying again does not help.
                failure.exit = Exit::Usage;
                failure
            }
            ServerError::Io { ref source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Self::new(Exit::Permission, error)
            }
            ServerError::Tls(_) => Self::usage(error).with_hint("check cert, key and client_ca in [listen.tcp]"),
            error => Self::other(error),
        }
    }
}

impl From<LedgerError> for CliError {
    fn from(error: LedgerError) -> Self {
        let exit = match &error {
            LedgerError::Absent(_) | LedgerError::NoSuchRun => Exit::NotFound,
            LedgerError::Closed { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => Exit::Permission,
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
            error => Self::other(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_follow_the_reasons() {
        for (reason, exit) in [
            (Reason::ImageRefInvalid, 2),
            (Reason::BaseMissing, 3),
            (Reason::TrainAuthenticationFailed, 4),
            (Reason::RunState, 5),
            (Reason::EngineUnavailable, 6),
            (Reason::KeyNotAllowed, 7),
            (Reason::Invariant, 1),
        ] {
            let error = CliError::from(RpcError::from(Refusal::from(reason)));
            assert_eq!(error.exit as u8, exit, "{}", reason.name());
            assert_eq!(error.reason.as_deref(), Some(reason.name()));
        }
    }

    #[test]
    fn a_code_without_a_reason_still_has_an_exit_code() {
        assert_eq!(CliError::from(RpcError::unavailable("gone")).exit, Exit::Unavailable);
        assert_eq!(CliError::from(RpcError::permission_denied("no")).exit, Exit::Permission);
        assert_eq!(CliError::from(RpcError::unknown("?")).exit, Exit::Other);
    }
}
