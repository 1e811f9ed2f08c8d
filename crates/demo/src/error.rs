//! Errors of the demonstration, with remedies.

use std::{io, path::PathBuf};

use stationmaster::service::status::{Failure, RpcError};

/// Why the demonstration did not pass.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// No container engine responds.
    #[error("no container engine responds at {host}: {detail}")]
    NoEngine {
        /// The address.
        host: String,
        /// The cause.
        detail: String,
    },
    /// `DOCKER_HOST` names an engine that is not on a Unix socket of this machine.
    #[error("DOCKER_HOST={0} is not a Unix socket of this machine")]
    EngineElsewhere(String),
    /// There is no statically linked busybox.
    #[error("no statically linked busybox: {0}")]
    NoBusybox(String),
    /// There is no SoftHSM.
    #[error("SoftHSM's PKCS#11 module was not found")]
    NoSoftHsm,
    /// The service's program is not in the directory of this program.
    #[error("{} does not exist", .0.display())]
    NoService(PathBuf),
    /// The state directory is not empty.
    #[error("{} is not empty", .0.display())]
    StateInUse(PathBuf),
    /// An operation on a file or process failed.
    #[error("cannot {what}: {source}")]
    Io {
        /// The operation.
        what: String,
        /// The cause.
        source: io::Error,
    },
    /// A station did not start.
    #[error("station {station} {what}; the end of its log:\n{log}")]
    Station {
        /// The station.
        station: String,
        /// What happened.
        what: String,
        /// The last lines of its log.
        log: String,
    },
    /// A station refused a call that must succeed.
    #[error("{station}: {call} failed: {message}{}", reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default())]
    Call {
        /// The station.
        station: String,
        /// The call.
        call: &'static str,
        /// The service's message.
        message: String,
        /// The reason.
        reason: Option<String>,
    },
    /// The engine refused a call that must succeed.
    #[error("the engine cannot {what}: {detail}")]
    Engine {
        /// The operation.
        what: &'static str,
        /// The engine's message.
        detail: String,
    },
    /// The algorithm failed in its container.
    #[error("the train's algorithm failed at {station}: {detail}")]
    Algorithm {
        /// The station.
        station: String,
        /// Exit status and output.
        detail: String,
    },
    /// A cryptographic operation failed.
    #[error("cryptography: {0}")]
    Cryptography(String),
    /// An expectation is not met.
    #[error("NOT proven: {0}")]
    Unproven(String),
    /// Ctrl-C or another signal.
    #[error("interrupted")]
    Interrupted,
}

impl DemoError {
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    pub(super) fn crypto(error: impl std::fmt::Display) -> Self {
        Self::Cryptography(error.to_string())
    }

    pub(super) fn call(station: &str, call: &'static str) -> impl FnOnce(RpcError) -> Self {
        let station = station.to_owned();
        move |status| {
            let failure = Failure::from(&status);
            Self::Call { station, call, message: failure.message, reason: failure.reason_name }
        }
    }

    /// Returns a remedy.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoEngine { .. } => "`make demo` starts one; or apt-get install docker.io; DOCKER_HOST names another socket",
            Self::EngineElsewhere(_) => "unset DOCKER_HOST, or set it to unix:///path",
            Self::NoBusybox(_) => "apt-get install busybox-static",
            Self::NoSoftHsm => "apt-get install softhsm2, or set SOFTHSM2_MODULE",
            Self::NoService(_) => "build both: `cargo build --profile quick`, or `make demo`",
            Self::StateInUse(_) => "name a directory that is empty or does not exist yet",
            Self::Call { .. } | Self::Engine { .. } | Self::Algorithm { .. } | Self::Unproven(_) => {
                "run it again with --keep to keep images and logs for inspection"
            }
            _ => return None,
        })
    }
}
