//! Audit records: events and their fields, as they are serialised.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// A segment of the log begins: id of the log, number of the segment, and the tree before it.
    Segment,
    /// The service started; it is about to search for the keys and to probe them.
    ServiceStarted,
    /// The token is open: its keys, and the number of key uses so far.
    KeysFound,
    /// The service ended.
    ServiceStopped,
    /// Keys are about to be probed: `about` states how many signatures and decryptions this takes.
    KeysTried,
    /// A private key is about to be used.
    KeyUse,
    /// The outcome of a key use.
    KeyUsed,
    /// Results of a train were verified and are about to be returned to the caller.
    ResultsGiven,
    /// A step was completed.
    Step,
    /// A call was refused, or failed.
    Refusal,
    /// Refused calls without a record of their own, because they came too fast.
    Refusals,
    /// The trusted keys were changed, or read again.
    TrustChanged,
    /// The grants were changed, or read again.
    AccessChanged,
    /// The service's certificate, or the authorities and revocation lists of its clients, were read again.
    TlsChanged,
    /// A finished stop may be run once more.
    RunAllowedAgain,
    /// A run was abandoned by an administrator.
    RunAbandoned,
    /// Details of runs that ended long ago were removed from the ledger.
    RunsPruned,
    /// The binding of a train session was removed: the session can be bound again.
    SessionForgotten,
    /// A lost part of the state was given up: the station continues without it.
    StateLossAccepted,
    /// A copy of the state directory was made.
    StateBackedUp,
    /// A backup was restored: runs that ended since are unknown to it.
    StateRestored,
    /// An officer requested the approval of a guarded act.
    ApprovalRequested,
    /// A second officer approved or rejected a request.
    ApprovalDecided,
    /// A guarded act was refused, because it was not approved.
    ApprovalRefused,
    /// Another file of officers takes effect.
    OfficersChanged,
    /// A ceremony began: the administrators' records carry its id until it ends.
    CeremonyStarted,
    /// The transcript of a ceremony is about to be signed.
    CeremonyFinished,
    /// A ceremony was ended without a transcript.
    CeremonyAborted,
    /// A token was initialised.
    TokenInitialised,
    /// The user PIN of a token was set with the SO PIN.
    UserPinSet,
    /// A key was generated.
    KeyGenerated,
    /// The state of a train key was changed.
    KeyStateChanged,
    /// A key was destroyed.
    KeyDestroyed,
    /// A backup of a key was restored into a token.
    KeyRestored,
    /// A key that was not generated in the token was imported.
    KeyImported,
    /// A signed checkpoint.
    Checkpoint,
    /// The position of the log of the administrators' commands, as the service found it.
    AdministratorsLog,
    /// Whole segments are about to be moved to the archive.
    SegmentsArchived,
    /// The end of the log was half-written when it was opened.
    Recovered,
    /// A record could not be written, and now it can: nothing was done in between.
    WritableAgain,
    /// The clock is behind the preceding record.
    ClockWentBack,
    /// The mirror does not keep up, or does so again.
    SecondSink,
    /// An event that a newer version wrote.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Event {
    /// Returns the event's name in the log.
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
pub struct ImageIds {
    /// The reference that was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The image that was read.
    #[serde(default, rename = "in", skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// The image that was written.
    #[serde(default, rename = "out", skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// Digests of a train, hex of SHA-512.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// Of the immutable files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub immutable: Option<String>,
    /// Of the results that arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results_in: Option<String>,
    /// Of the results that leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results_out: Option<String>,
}

/// The outcome of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRef {
    /// Its name.
    pub rule: String,
    /// `checked`, `relaxed`, `not checkable`, `broken`.
    pub outcome: String,
}

/// Contents of a record; fields that do not apply are absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// What happened.
    pub event: Event,
    /// Ties the records of one call together: UUID, version 7.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// The principal, as grants name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// The RPC, or the administrator's command.
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
    pub images: Option<ImageIds>,
    /// The train's digests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digests: Option<Digests>,
    /// The private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyRef>,
    /// The purpose of the use: `sign`, `unwrap`, `checkpoint`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The scheme's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// Hex of the signed digest, or of the SHA-256 of the unwrapped data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Number of the record that announced this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// `ok`, or the reason of the refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// The reason that the caller of a refused train received in place of the cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal_id: Option<String>,
    /// The cause. Protected: only readers of the log learn it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The outcome of each rule.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleRef>,
    /// Fields of this event only.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub about: Map<String, Value>,
}

impl Entry {
    /// Returns a record of an event without any other fields.
    #[must_use]
    pub fn of(event: Event) -> Self {
        Self { event, ..Self::default() }
    }

    /// Adds a field of this event only.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.about.insert(name.to_owned(), value.into());
        self
    }
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The record's number in the log, from 0.
    pub seq: u64,
    /// When it was written: RFC 3339, UTC, microseconds. `seq` determines the order, not the clock.
    pub time: String,
    /// Hash of the preceding record, hex; zeros before the first.
    pub prev: String,
    /// The contents.
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
