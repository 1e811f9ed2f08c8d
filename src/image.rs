//! Where trains live: images in the engine or in layout directories, read and written as streams.
//!
//! What comes out of an image is untrusted and passes [`opt`], the one strict reader; what goes into one is built by
//! [`layer`] alone. Only [`docker`] names the engine's client; [`store`] is that, or [`layouts`] where there is no engine.

pub mod archive;
pub mod checks;
pub mod disk;
pub mod filesystem;
pub mod foreign_directory;
pub mod oci;
pub mod opt;
pub mod store;
pub mod tar;
#[cfg(test)]
mod test_archives;

use thiserror::Error;

/// What `docker save` gave is passed on under a folder `ours`, for a parent of so many layers; answers the layers' places. For fuzz/.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn pass_on_for_fuzzing(saved: &[u8], layers: usize, out: &mut Vec<u8>) -> Option<Vec<String>> {
    let parent = image_config::ImageMetadata {
        id: format!("sha256:{}", "0".repeat(64)),
        layers: vec![String::new(); layers],
        config: serde_json::Map::new(),
        platform: serde_json::Map::new(),
        size: 0,
        history: Vec::new(),
    };
    full_load::copy_archive(saved, &parent, "ours", out).ok().map(|passed| passed.layers)
}

/// Why an image could not be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The caller's reference is malformed. The caller's fault; a retry does not help.
    #[error("not an image reference: {0}")]
    Reference(&'static str),
    /// There is no such image. A retry helps after a pull.
    #[error("there is no image of that name")]
    NotFound,
    /// The image lacks a path that was asked for.
    #[error("the image has no such path")]
    PathMissing,
    /// An archive is not what its format says. The image's fault.
    #[error("the image's archive is malformed: {0}")]
    Malformed(&'static str),
    /// The same, of one of the image's files.
    #[error("the image's archive is malformed: {what}: {place}")]
    MalformedAt {
        /// What is wrong.
        what: &'static str,
        /// The file: a name that says nothing but a digest, or one that every image has.
        place: String,
    },
    /// It is of another kind than what is read. The caller's fault; `convert` is the command that makes of it what is read.
    #[error("{what} is {kind}")]
    Foreign {
        /// What it was taken for.
        what: &'static str,
        /// What it is.
        kind: &'static str,
        /// How to get what is read.
        convert: &'static str,
    },
    /// Several images lie there, or none of the name that was asked for. The caller's to choose.
    #[error("{}: {names}", if *.is_named { "no image of that name is in it, but these are" } else { "it holds several images, of which one must be named" })]
    NotOne {
        /// Whether one was asked for by name.
        is_named: bool,
        /// Those that are there.
        names: String,
    },
    /// The image holds something that a train may not hold. The image's fault; `rule` is stable.
    #[error("the image breaks the rule {rule}")]
    Policy {
        /// The rule's name.
        rule: &'static str,
        /// What broke it, for the protected log only: it may hold the image's own bytes.
        detail: String,
    },
    /// A bound of this service was passed.
    #[error("the image passes the limit {0}")]
    Limit(&'static str),
    /// Other calls keep as much of images as the service has memory for. A retry helps.
    #[error("the memory for what is kept of images is taken by other calls")]
    MemoryTaken,
    /// The disk under the spool or the shared directory is too full. The operator's fault; a retry helps after freeing space.
    #[error("the disk under the {place} is full: {needed} bytes needed, {free} free")]
    DiskFull {
        /// `spool` or `directory`.
        place: &'static str,
        /// Bytes that the step needs.
        needed: u64,
        /// Bytes that are free above the configured reserve.
        free: u64,
    },
    /// Reading or writing the spool failed.
    #[error("the spool failed: {0}")]
    Spool(#[source] std::io::Error),
    /// Reading or writing the shared directory failed.
    #[error("the shared directory failed: {0}")]
    Directory(#[source] std::io::Error),
    /// Reading or writing a layout failed.
    #[error("the layout failed: {0}")]
    Layout(#[source] std::io::Error),
    /// Only an engine can do this, and the station's images are in layouts.
    #[error("the station's images are in layouts: there is no engine")]
    NoEngine,
    /// The engine cannot be reached or broke off. A retry helps when it is back.
    #[error("the engine is not available: {0}")]
    EngineUnavailable(String),
    /// The engine refused a call, and will refuse it until a person has changed something. A retry does not help.
    #[error("the engine refused {call}: {detail}")]
    EngineRefused {
        /// Which call.
        call: &'static str,
        /// The engine's own words, as plain text.
        detail: String,
        /// What is behind it, as far as its words tell.
        why: EngineSays,
    },
    /// The engine failed in a call that should work. Not the caller's fault; a retry may help.
    #[error("the engine failed in {call}: {detail}")]
    Engine {
        /// Which call.
        call: &'static str,
        /// The engine's own words, for the log.
        detail: String,
    },
    /// The image is still used, by the containers or tags named.
    #[error("the image is still in use")]
    InUse,
    /// A thread of ours could not be started, or ended where it should not have. Not the caller's fault.
    #[error("{0} broke off")]
    BrokeOff(&'static str),
    /// The caller went away or the deadline passed.
    #[error("cancelled")]
    Cancelled,
}

/// What is behind an engine's refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineSays {
    /// Its disk is full.
    DiskFull,
    /// Its file system takes no writes.
    ReadOnly,
    /// It has a rule, or a plugin, that forbids the call.
    Denied,
    /// The image has more layers than it takes.
    TooManyLayers,
    /// Something else.
    Other,
}

impl EngineSays {
    /// Its name in answers.
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
    /// What is wrong with a file of an image. Its name is told where it cannot say more than a digest: it may be foreign text.
    fn of_file(what: &'static str, name: &str) -> Self {
        let is_blob = name
            .strip_prefix("blobs/sha256/")
            .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
        if is_blob || matches!(name, "index.json" | "oci-layout" | "manifest.json") {
            Self::MalformedAt { what, place: name.to_owned() }
        } else {
            Self::Malformed(what)
        }
    }
}
