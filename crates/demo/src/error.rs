//! Errors of the demonstration, with remedies.

use std::{io, path::PathBuf};

use stationmaster::service::status::{Failure, RpcError};

/// Why the demonstration did not pass.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// No container engine answers.
    #[error("no container engine answers at {host}: {detail}")]
    NoEngine {
        /// Where one was looked for.
        host: String,
        /// What happened.
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
    /// The service's program is not beside this one.
    #[error("there is no {}", .0.display())]
    NoService(PathBuf),
    /// The state directory holds something.
    #[error("{} is not empty", .0.display())]
    StateInUse(PathBuf),
    /// A file or process could not be had.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A station's process did not come up.
    #[error("station {station} {what}; the end of its log:\n{log}")]
    Station {
        /// The station.
        station: String,
        /// What became of it.
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
        /// The contract's reason.
        reason: Option<String>,
    },
    /// The engine refused a call that must succeed.
    #[error("the engine cannot {what}: {detail}")]
    Engine {
        /// What was asked of it.
        what: &'static str,
        /// Its own words.
        detail: String,
    },
    /// The algorithm did not end well in its container.
    #[error("the train's algorithm failed at {station}: {detail}")]
    Algorithm {
        /// The station.
        station: String,
        /// Exit status and output.
        detail: String,
    },
    /// OpenSSL failed, or something it made cannot be used.
    #[error("cryptography: {0}")]
    Cryptography(String),
    /// Something that was to be proven does not hold.
    #[error("NOT proven: {0}")]
    Unproven(String),
    /// Ctrl-C, or told to end.
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

    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoEngine { .. } => {
                "`make demo` starts one where there is none; or apt-get install docker.io; DOCKER_HOST names another socket"
            }
            Self::EngineElsewhere(_) => "unset DOCKER_HOST, or set it to unix:///path",
            Self::NoBusybox(_) => "apt-get install busybox-static",
            Self::NoSoftHsm => "apt-get install softhsm2, or set SOFTHSM2_MODULE",
            Self::NoService(_) => "build both: `cargo build --profile quick`, or `make demo`",
            Self::StateInUse(_) => "name a directory that is empty or not there yet",
            Self::Call { .. } | Self::Engine { .. } | Self::Algorithm { .. } | Self::Unproven(_) => {
                "run it again with --keep: images and the stations' logs stay, to look at"
            }
            _ => return None,
        })
    }
}
