//! Error of reading and writing images.

use std::io;

use stationmaster_train::{digest::NotSha256, rule::Rule};
use thiserror::Error;

use crate::oci::digest;

/// Error of reading or writing an image.
#[derive(Debug, Error)]
pub enum ImageError {
    /// The caller's reference is malformed. The caller's fault; a retry does not help.
    #[error("not an image reference: {0}")]
    Reference(&'static str),
    /// The image does not exist. A retry helps after a pull.
    #[error("there is no image of that name")]
    NotFound,
    /// The image lacks the requested path.
    #[error("the image has no such path")]
    PathMissing,
    /// An archive violates its format. The image's fault.
    #[error("the image's archive is malformed: {0}")]
    Malformed(&'static str),
    /// As [`ImageError::Malformed`], for one of the image's files.
    #[error("the image's archive is malformed: {what}: {place}")]
    MalformedAt {
        /// The defect.
        what: &'static str,
        /// The file: a name that contains only a digest, or one that every image has.
        place: String,
    },
    /// The input is a file of another kind. The caller's fault; `convert` is the command that converts it.
    #[error("{what} is {kind}")]
    Foreign {
        /// The expected kind.
        what: &'static str,
        /// The actual kind.
        kind: &'static str,
        /// How to get the expected kind.
        convert: &'static str,
    },
    /// The input has several images, or none of the requested name. The caller must choose.
    #[error("{}: {names}", if *.is_named { "no image of that name is in it, but these are" } else { "it holds several images, of which one must be named" })]
    NotOne {
        /// Whether an image was requested by name.
        is_named: bool,
        /// Names of the existing images.
        names: String,
    },
    /// The image contains an entry that a train must not contain. The image's fault; the rule's name is stable.
    #[error("the image breaks the rule {}", rule.name())]
    Policy {
        /// The rule.
        rule: Rule,
        /// The cause, for the protected log only: it may contain the image's own bytes.
        detail: String,
    },
    /// A limit of this service is exceeded.
    #[error("the image passes the limit {0}")]
    Limit(&'static str),
    /// Other calls use all memory that the service has for image metadata. A retry helps.
    #[error("the memory for what is kept of images is taken by other calls")]
    MemoryTaken,
    /// The disk under the named place has too little space. The operator's fault; a retry helps after freeing space.
    #[error("the disk under the {place} is full: {needed} bytes needed, {free} free")]
    DiskFull {
        /// `spool`, `directory`, `layouts` or `archive`.
        place: &'static str,
        /// Bytes that the step needs.
        needed: u64,
        /// Bytes that are free above the configured reserve.
        free: u64,
    },
    /// Reading or writing one of the service's own files failed.
    #[error("the {place} failed: {source}")]
    Io {
        /// As in [`ImageError::DiskFull`].
        place: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The operation needs an engine, and the station's images are in layouts.
    #[error("the station's images are in layouts: there is no engine")]
    NoEngine,
    /// The engine cannot be reached or closed the connection. A retry helps when it is available again.
    #[error("the engine is not available: {0}")]
    EngineUnavailable(String),
    /// The engine refused a call, and will refuse it until an administrator changes something. A retry does not help.
    #[error("the engine refused {call}: {detail}")]
    EngineRefused {
        /// The refused call.
        call: &'static str,
        /// The engine's own message, as plain text.
        detail: String,
        /// The reason, as far as the message shows it.
        why: EngineSays,
    },
    /// The engine failed in a call that should work. Not the caller's fault; a retry may help.
    #[error("the engine failed in {call}: {detail}")]
    Engine {
        /// The failed call.
        call: &'static str,
        /// The engine's own message, for the log.
        detail: String,
    },
    /// The image is still used, by the containers or tags named.
    #[error("the image is still in use")]
    InUse,
    /// A thread of this process could not be started, or ended unexpectedly. Not the caller's fault.
    #[error("{0} broke off")]
    BrokeOff(&'static str),
    /// The caller closed the call or the deadline passed.
    #[error("cancelled")]
    Cancelled,
}

/// Reason of an engine's refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineSays {
    /// The engine's disk is full.
    DiskFull,
    /// The engine's file system is read-only.
    ReadOnly,
    /// A policy or plugin of the engine forbids the call.
    Denied,
    /// The image has more layers than the engine supports.
    TooManyLayers,
    /// Another reason.
    Other,
}

impl EngineSays {
    /// Returns the name used in responses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DiskFull => "disk-full",
            Self::ReadOnly => "read-only",
            Self::Denied => "denied",
            Self::TooManyLayers => "too-many-layers",
            Self::Other => "other",
        }
    }
}

impl ImageError {
    /// Returns the error for an entry that breaks a rule. `detail` may be the image's own bytes.
    pub fn policy(rule: Rule, detail: impl AsRef<[u8]>) -> Self {
        Self::Policy { rule, detail: String::from_utf8_lossy(detail.as_ref()).into_owned() }
    }

    /// Converts an error of reading an image's content: an error of this crate's own stream is returned unchanged, the tar reader's
    /// as a malformed archive.
    pub fn from_io(error: io::Error) -> Self {
        error.downcast().unwrap_or(Self::Malformed("it cannot be read as a tar archive"))
    }

    /// Returns a function that converts an error of one of the service's own files: a full disk is [`ImageError::DiskFull`].
    pub fn at<E: Into<io::Error>>(place: &'static str) -> impl Fn(E) -> Self {
        move |error| {
            let source = error.into();
            match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { place, needed: 1, free: 0 },
                _ => Self::Io { place, source },
            }
        }
    }

    /// Returns the error for a file of an image. The file's name is included only if it cannot be more than a digest: it may be
    /// untrusted text.
    pub(crate) fn of_file(what: &'static str, name: &str) -> Self {
        if digest::of_file(name).is_some() || matches!(name, "index.json" | "oci-layout" | "manifest.json") {
            Self::MalformedAt { what, place: name.to_owned() }
        } else {
            Self::Malformed(what)
        }
    }
}

impl From<NotSha256> for ImageError {
    fn from(_: NotSha256) -> Self {
        Self::Malformed("a digest that is not sha256")
    }
}
