//! Data model of `train_config.json`, the config that a train carries (`docs/wire-format.md §2`). Everything in it is a claim
//! until [`super::verify`] has verified it.

mod read;
mod values;
mod write;

pub use values::{HexError, HexText, Id};

use super::json::{Json, JsonError};

/// Maximum size of a config, in bytes.
pub const MAX_CONFIG_BYTES: usize = 8 * 1024 * 1024;
/// Maximum number of stops on a route.
pub const MAX_ROUTE_STOPS: usize = 10_000;
/// Length of a session id as builders make it, in bytes.
pub const SESSION_BYTES: usize = 64;
/// Maximum number of names in `file_list`.
pub const MAX_FILE_LIST: usize = 100_000;

/// Maximum length of each kind of field, in characters. What train_lib writes is far below these limits; longer values would
/// be carried into records, rows and responses.
pub mod longest {
    /// An id: of a train, a station, a creator, a proposal.
    pub const ID: usize = 256;
    /// An id that is a number: the length of Python's text for the largest float, with its sign.
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
    /// Source of the train's code.
    pub source: Source,
    /// The train's creator, who can open its final results.
    pub creator: Creator,
    /// The proposal this train belongs to.
    pub proposal_id: Id,
    /// The train's id; `@id` on the wire.
    pub id: String,
    /// `@context` on the wire: [`Json::Null`] or [`Json::Object`], never interpreted.
    pub context: Json,
    /// Random bytes that make every digest of this train unique; 64 in practice. Only [`longest::SESSION`] is enforced here.
    pub session_id: HexText,
    /// The stops, in the order of the file, which may differ from the order of their indices.
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

/// Source of a train's code.
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

/// The train's creator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Creator {
    /// The user's id. Its spelling is the first input of the immutable digest.
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
    /// The federation that the station belongs to.
    pub eco_system: Ecosystem,
    /// Hex of PEM.
    pub rsa_public_key: HexText,
    /// Place on the route, from 0.
    pub index: i64,
    /// The station's link of the chain; `None` until it has signed.
    pub signature: Option<StopSignature>,
    /// The envelope key wrapped for this station.
    pub encrypted_key: Option<HexText>,
}

/// A stop's link of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopSignature {
    /// The chain digest (64 bytes) stated by the station.
    pub digest: HexText,
    /// The station's PSS signature of that digest.
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
    /// Returns the name as configs spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tue => "tue",
            Self::Padme => "padme",
        }
    }
}

/// The builder's signature of the train.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// PKCS#1 v1.5 signature of `hash` and the creator's signature, concatenated.
    pub signature: HexText,
    /// Hex of PEM; a new key for every build.
    pub rsa_public_key: HexText,
}

/// Error of reading a train's config. The sender's fault; a retry with the same bytes does not help. Messages name the field
/// and never its content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrainConfigError {
    /// The text is not JSON that this parser accepts.
    #[error("train config: {0}")]
    Json(#[from] JsonError),
    /// A limit is exceeded: `config_bytes`, `json_depth`, `json_values`, `route_stops` or `file_list_entries`.
    #[error("train config: over the limit of {limit}")]
    LimitExceeded {
        /// The limit's name.
        limit: &'static str,
    },
    /// A field is longer than the limit of its kind; see [`longest`].
    #[error("train config: {field} is longer than {most} characters")]
    TooLong {
        /// Path of the field.
        field: String,
        /// Maximum length, in characters.
        most: usize,
    },
    /// A required field is missing or null.
    #[error("train config: {field} is missing")]
    Missing {
        /// Path of the field, e.g. `route[2].station`.
        field: String,
    },
    /// A field's value has the wrong type or form.
    #[error("train config: {field} is not {expected}")]
    WrongType {
        /// Path of the field.
        field: String,
        /// The expected type or form.
        expected: &'static str,
    },
}

impl TrainConfig {
    /// Reads an untrusted `train_config.json` with the conversions of train_lib's model: numbers for ids, text for numbers and
    /// the like are converted, unknown keys are dropped.
    ///
    /// It is stricter in what [`super::json`] rejects, and in that objects must be objects (the model also takes lists of pairs).
    pub fn parse(bytes: &[u8]) -> Result<Self, TrainConfigError> {
        read::parse(bytes)
    }

    /// Returns the bytes that train_lib would write for this config. The route keeps the order it has here.
    pub fn to_bytes(&self) -> Vec<u8> {
        write::to_json(self).to_python_text().into_bytes()
    }
}

#[cfg(test)]
mod tests;
