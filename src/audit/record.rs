//! A record, and what it can say.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// A segment of the log begins: which log, which segment, and the tree before it.
    Segment,
    /// The service started; the keys are about to be looked for and tried.
    ServiceStarted,
    /// The token is open: its keys, and how often it was asked to use them so far.
    KeysFound,
    /// The service ended.
    ServiceStopped,
    /// Keys are about to be tried out: `about` says how many signatures and decryptions that takes.
    KeysTried,
    /// A private key is about to be used.
    KeyUse,
    /// What became of a key use.
    KeyUsed,
    /// Results of a train have proved right and are about to be given to whoever asked.
    ResultsGiven,
    /// A step came to its end as it should.
    Step,
    /// A call was refused, or failed.
    Refusal,
    /// Calls that were refused and have no record each: they came too fast.
    Refusals,
    /// Whom the station believes was changed, or was read anew.
    TrustChanged,
    /// Who may call was changed, or was read anew.
    AccessChanged,
    /// The service's certificate, or the authorities and revocation lists of its clients, were read anew.
    TlsChanged,
    /// A finished stop may be run once more.
    RunAllowedAgain,
    /// A run was given up by an officer.
    RunAbandoned,
    /// What the ledger keeps of runs that ended long ago was dropped.
    RunsPruned,
    /// What a train session belongs to was forgotten: it may be bound anew.
    SessionForgotten,
    /// A part of the state that is lost was given up: the station goes on without it.
    StateLossAccepted,
    /// A copy of the state directory was made.
    StateBackedUp,
    /// A copy was put back: runs that ended since are not known to it.
    StateRestored,
    /// A token was made.
    TokenInitialised,
    /// The user PIN of a token was set with the SO PIN.
    UserPinSet,
    /// A key was made.
    KeyGenerated,
    /// A signed checkpoint.
    Checkpoint,
    /// Where the log of the administrators' commands is, as the service found it.
    AdministratorsLog,
    /// Whole segments are about to be moved to the archive.
    SegmentsArchived,
    /// The end of the log was half-written when it was opened.
    Recovered,
    /// A record could not be written, and now one can: nothing was done in between.
    WritableAgain,
    /// The clock is behind the record before.
    ClockWentBack,
    /// The second sink does not keep up, or does again.
    SecondSink,
    /// Something that a newer version wrote.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Event {
    /// Its name in the log.
    #[must_use]
    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// A key pair, without anything secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRef {
    /// `CKA_LABEL`.
    pub label: String,
    /// As in KeyService.
    pub fingerprint: String,
    /// `train`, `general`, `audit`.
    pub purpose: String,
}

/// A train at a stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainRef {
    /// `@id`.
    pub id: String,
    /// The train session, hex.
    pub session: String,
    /// This station's index on the route; 0 where it is not known.
    pub stop: u32,
}

/// The images of a step, by the engine's ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Images {
    /// The reference that was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What was read.
    #[serde(default, rename = "in", skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// What was written.
    #[serde(default, rename = "out", skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// Digests of a train, hex of SHA-512.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// Of the immutable files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub immutable: Option<String>,
    /// Of the results that came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results_in: Option<String>,
    /// Of the results that leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results_out: Option<String>,
}

/// What became of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRef {
    /// Its name.
    pub rule: String,
    /// `checked`, `relaxed`, `not checkable`, `broken`.
    pub outcome: String,
}

/// What a record says; what does not apply is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// What happened.
    pub event: Event,
    /// Ties the records of one call together: UUID, version 7.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// Who asked, as grants name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// The RPC, or the officer's command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpc: Option<String>,
    /// The run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The train.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<TrainRef>,
    /// The images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<Images>,
    /// The train's digests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digests: Option<Digests>,
    /// The private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyRef>,
    /// What it is used for: `sign`, `unwrap`, `checkpoint`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The scheme's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// Hex of what is signed (a digest), or of the SHA-256 of what is unwrapped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Number of the record that announced this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// `ok`, or the reason of the refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// What the caller of a refused train was told in place of the cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal_id: Option<String>,
    /// The cause. Protected: nobody but the log's readers learns it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What became of each rule.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleRef>,
    /// What only this event has.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub about: Map<String, Value>,
}

impl Entry {
    /// A record of an event, with nothing said of it yet.
    #[must_use]
    pub fn of(event: Event) -> Self {
        Self { event, ..Self::default() }
    }

    /// With one thing that only this event has.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.about.insert(name.to_owned(), value.into());
        self
    }
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its number in the log, from 0.
    pub seq: u64,
    /// When it was written: RFC 3339, UTC, microseconds. The order is `seq`'s, not the clock's.
    pub time: String,
    /// Hash of the record before, hex; zeros before the first.
    pub prev: String,
    /// What it says.
    #[serde(flatten)]
    pub entry: Entry,
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn an_event_has_one_name_in_the_log_and_on_the_command_line() {
        for event in Event::value_variants() {
            assert_eq!(event.to_possible_value().map(|name| name.get_name().to_owned()), Some(event.name()));
        }
    }
}
