//! `train_config.json`: what a train says about itself (`docs/wire-format.md §2`). Everything in it is a claim until
//! [`super::verify`] has looked at it.

mod read;
mod values;
mod write;

pub use values::{HexError, HexText, Id};

use super::json::{Json, JsonError};

/// The largest config that is read, in bytes.
pub const MAX_CONFIG_BYTES: usize = 8 * 1024 * 1024;
/// The most stops a route may have.
pub const MAX_ROUTE_STOPS: usize = 10_000;
/// Length of a session id as builders make it, in bytes.
pub const SESSION_BYTES: usize = 64;
/// The most names `file_list` may have.
pub const MAX_FILE_LIST: usize = 100_000;

/// The longest that each kind of field may be, in characters. What train_lib writes is far below; what is longer would be carried into
/// records, rows and answers.
pub mod longest {
    /// An id: of a train, a station, a creator, a proposal.
    pub const ID: usize = 256;
    /// An id that is a number: what Python makes of the largest float, with its sign.
    pub const NUMBER: usize = 310;
    /// The session id, in hex: 128 characters as builders make it.
    pub const SESSION: usize = 512;
    /// A digest, in hex: 128 characters.
    pub const DIGEST: usize = 512;
    /// A signature or a wrapped key, in hex: 2048 characters with the largest RSA key that is taken.
    pub const SIGNATURE: usize = 16 * 1024;
    /// A public key, in hex of PEM.
    pub const KEY: usize = 64 * 1024;
    /// A file's path, an address, a tag, a branch.
    pub const PATH: usize = 4096;
    /// `@context` as it is written: nothing reads or signs it.
    pub const CONTEXT: usize = 64 * 1024;
}

/// A train's config. Field order is the order on the wire.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainConfig {
    /// Where the train's code came from.
    pub source: Source,
    /// Who made the train and will read its final results.
    pub creator: Creator,
    /// The proposal this train belongs to.
    pub proposal_id: Id,
    /// The train's id; `@id` on the wire.
    pub id: String,
    /// `@context` on the wire: [`Json::Null`] or [`Json::Object`], never interpreted.
    pub context: Json,
    /// Random bytes that make every digest of this train its own; 64 in practice. Only [`longest::SESSION`] is held here.
    pub session_id: HexText,
    /// The stops, in the order of the file, which need not be that of their indices.
    pub route: Vec<RouteStop>,
    /// The immutable files in the order in which they are hashed, without the query.
    pub file_list: Vec<String>,
    /// The immutable digest (64 bytes) the creator signed.
    pub hash: HexText,
    /// The creator's PKCS#1 v1.5 signature of `hash`.
    pub signature: HexText,
    /// The builder's signature.
    pub build: Build,
    /// Digest (64 bytes) of the previous stop's results; `None` before the first run.
    pub result_hash: Option<HexText>,
    /// The previous stop's PSS signature of `result_hash`.
    pub result_signature: Option<HexText>,
}

/// Where a train's code came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// `type` on the wire.
    pub kind: SourceKind,
    /// Repository address.
    pub address: String,
    /// Image tag.
    pub tag: Option<String>,
    /// Git branch.
    pub branch: Option<String>,
}

/// The kind of a [`Source`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// `docker_repository`
    DockerRepository,
    /// `git_repository`
    GitRepository,
}

/// Who made the train.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Creator {
    /// The user's id; its spelling is the first thing in the immutable digest.
    pub id: Id,
    /// Hex of PEM.
    pub rsa_public_key: HexText,
    /// Not used by the security protocol. Numbers stay numbers, text stays text.
    pub paillier_public_key: Option<Id>,
    /// The envelope key wrapped for the creator; set from the first post-run on.
    pub encrypted_key: Option<HexText>,
}

/// One stop of the route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteStop {
    /// The station's id.
    pub station: Id,
    /// Which federation the station belongs to.
    pub eco_system: Ecosystem,
    /// Hex of PEM.
    pub rsa_public_key: HexText,
    /// Place on the route, from 0.
    pub index: i64,
    /// The station's link of the chain; `None` until it has closed the train.
    pub signature: Option<StopSignature>,
    /// The envelope key wrapped for this station.
    pub encrypted_key: Option<HexText>,
}

/// A stop's link of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopSignature {
    /// The chain digest (64 bytes) the station stated.
    pub digest: HexText,
    /// Its PSS signature of that digest.
    pub signature: HexText,
}

/// The federation of a station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ecosystem {
    /// `tue`
    Tue,
    /// `padme`
    Padme,
}

impl Ecosystem {
    /// The name as configs spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tue => "tue",
            Self::Padme => "padme",
        }
    }
}

/// The builder's word on the train.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// PKCS#1 v1.5 signature of `hash` and the creator's signature, concatenated.
    pub signature: HexText,
    /// Hex of PEM; made afresh for every build.
    pub rsa_public_key: HexText,
}

/// Why bytes are not a train's config. The sender's fault; sending them again does not help. Messages name the field, never
/// what was in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not JSON as we accept it.
    #[error("train config: {0}")]
    Json(#[from] JsonError),
    /// Larger than we read: `config_bytes`, `json_depth`, `json_values`, `route_stops` or `file_list_entries`.
    #[error("train config: over the limit of {limit}")]
    LimitExceeded {
        /// The limit's name.
        limit: &'static str,
    },
    /// A field is longer than its kind may be: see [`longest`].
    #[error("train config: {field} is longer than {most} characters")]
    TooLong {
        /// Path of the field.
        field: String,
        /// What it may have.
        most: usize,
    },
    /// A required field is missing or null.
    #[error("train config: {field} is missing")]
    Missing {
        /// Path of the field, e.g. `route[2].station`.
        field: String,
    },
    /// A field holds something else than it must.
    #[error("train config: {field} is not {expected}")]
    WrongType {
        /// Path of the field.
        field: String,
        /// What it must be.
        expected: &'static str,
    },
}

impl TrainConfig {
    /// Reads an untrusted `train_config.json` as train_lib's model does: numbers for ids, text for numbers and the like are
    /// converted, unknown keys dropped. Stricter in what [`super::json`] refuses, and in that objects must be objects (the
    /// model also takes lists of pairs).
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        read::parse(bytes)
    }

    /// The bytes train_lib would write for this config: the route stays in the order it has here.
    pub fn to_bytes(&self) -> Vec<u8> {
        write::to_json(self).to_python_text().into_bytes()
    }
}

#[cfg(test)]
mod tests;
