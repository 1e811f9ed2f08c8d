//! A run as the ledger keeps it.

use serde::{Deserialize, Serialize};

use crate::train::rule::{Outcome, Report};

/// Where a run is. The `-ing` states are intents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// A pre-run is under way or was cut off.
    Opening,
    /// The train is open; a post-run or an abort may follow.
    Prepared,
    /// A post-run is under way or was cut off.
    Closing,
    /// The train is sealed for the next stop. Final.
    Completed,
    /// An abort is under way or was cut off.
    Aborting,
    /// Ended without results; the stop is free. Final.
    Aborted,
    /// The pre-run failed and was rolled back; the stop is free. Final.
    Failed,
}

impl RunState {
    /// The state's name, as the ledger and error metadata write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Prepared => "prepared",
            Self::Closing => "closing",
            Self::Completed => "completed",
            Self::Aborting => "aborting",
            Self::Aborted => "aborted",
            Self::Failed => "failed",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        [Self::Opening, Self::Prepared, Self::Closing, Self::Completed, Self::Aborting, Self::Aborted, Self::Failed]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

/// Where a run's opened content is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OpenInto {
    /// In an image, under the train's own name: what train_lib does.
    #[default]
    Image,
    /// In two volumes of the engine's.
    Volume,
    /// In a directory that service and engine share.
    Directory,
}

impl OpenInto {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Image, Self::Volume, Self::Directory];

    /// Its name, as the ledger and the commands write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Volume => "volume",
            Self::Directory => "directory",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|into| into.as_str() == name)
    }
}

/// What is known when a run begins.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// UUID, version 7.
    pub id: String,
    /// This station's id.
    pub station: String,
    /// The train's `@id`.
    pub train_id: String,
    /// The train session, raw.
    pub session_id: Vec<u8>,
    /// This station's index in the route.
    pub stop_index: u32,
    /// The client's key, or the derived one.
    pub idempotency_key: String,
    /// Where the opened content goes.
    pub opened_into: OpenInto,
    /// The reference that is written, `repository:tag`.
    pub image: String,
    /// Id of the sealed image that arrived.
    pub source_image: String,
    /// Id of the train's base.
    pub base_image: String,
    /// Label of the station key that the route names.
    pub key_label: String,
    /// `train_config.json` as it arrived.
    pub config: Vec<u8>,
}

/// An immutable file as pre-run saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDigest {
    /// Path below `pht_train`.
    pub path: String,
    /// SHA-256 of its plaintext, hex.
    pub sha256: String,
}

/// A pre-run's outcome, kept to be answered again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreRunRecord {
    /// Id of the image to run: the opened one; the sealed one where its content is opened beside it.
    pub image_id: String,
    /// Whether the train has a query. Its bytes are with the opened content only.
    pub has_query: bool,
    /// Immutable files dropped because `file_list` does not name them.
    pub dropped_files: Vec<String>,
    /// Verified digest of the immutable files, hex.
    pub immutable_digest: String,
    /// Verified digest of the results found, hex; `None` at the first stop.
    pub results_digest: Option<String>,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// What became of each rule; nothing in rows of older versions.
    #[serde(default)]
    pub rules: Vec<RuleNote>,
}

/// What became of a rule, as it was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleNote {
    /// The rule's name.
    pub rule: String,
    /// [`Outcome::name`].
    pub outcome: String,
    /// What a person should know; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl RuleNote {
    /// A report as it is kept.
    pub fn of(report: &Report) -> Vec<Self> {
        let findings = report.findings().into_iter();
        findings
            .map(|finding| Self {
                rule: finding.rule.name().to_owned(),
                outcome: finding.outcome.name().to_owned(),
                note: finding.note.clone(),
            })
            .collect()
    }

    /// What became of it; `None` when a newer version wrote the row.
    pub fn outcome(&self) -> Option<Outcome> {
        Outcome::from_name(&self.outcome)
    }
}

/// A post-run's outcome, kept to be answered again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostRunRecord {
    /// The reference that was written.
    pub image: String,
    /// Id of the sealed image.
    pub image_id: String,
    /// Digest of the results as signed, hex.
    pub results_digest: String,
    /// Result files sealed.
    pub result_files: u64,
    /// Files that were not taken along.
    pub dropped_files: Vec<String>,
    /// What still holds a plaintext image.
    pub plaintext_held_by: Vec<String>,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// What became of each rule; nothing in rows of older versions.
    #[serde(default)]
    pub rules: Vec<RuleNote>,
}

/// A run.
#[derive(Clone, Debug)]
pub struct Run {
    /// UUID, version 7.
    pub id: String,
    /// Where it is.
    pub state: RunState,
    /// This station's id.
    pub station: String,
    /// The train's `@id`.
    pub train_id: String,
    /// The train session, raw.
    pub session_id: Vec<u8>,
    /// This station's index in the route.
    pub stop_index: u32,
    /// The client's key, or the derived one.
    pub idempotency_key: String,
    /// Where its opened content is.
    pub opened_into: OpenInto,
    /// The reference that pre-run was given.
    pub image: String,
    /// Id of the sealed image that arrived.
    pub source_image: String,
    /// Id of the train's base.
    pub base_image: String,
    /// Id of the opened image, announced before it can exist.
    pub opened_image: Option<String>,
    /// Id of the image whose results are being or were sealed.
    pub closing_image: Option<String>,
    /// Id of the sealed image, announced before it can exist.
    pub sealed_image: Option<String>,
    /// Label of the station key.
    pub key_label: String,
    /// `train_config.json` as it arrived.
    pub config: Vec<u8>,
    /// The immutable files as pre-run saw them, the query among them.
    pub immutable_files: Vec<FileDigest>,
    /// Pre-run's outcome.
    pub pre_run: Option<PreRunRecord>,
    /// Post-run's outcome.
    pub post_run: Option<PostRunRecord>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::rule::Rule;

    #[test]
    fn rows_of_a_version_without_reports_are_read() {
        let pre_run = r#"{"image_id":"i","has_query":false,"dropped_files":[],"immutable_digest":"00","results_digest":null,"warnings":[]}"#;
        assert_eq!(serde_json::from_str::<PreRunRecord>(pre_run).unwrap().rules, []);
        let post_run = r#"{"image":"i","image_id":"i","results_digest":"00","result_files":0,"dropped_files":[],"plaintext_held_by":[],"warnings":[]}"#;
        assert_eq!(serde_json::from_str::<PostRunRecord>(post_run).unwrap().rules, []);
    }

    #[test]
    fn a_report_is_kept_as_it_was() {
        let mut report = Report::default();
        report.note(Rule::CreatorPinned, Outcome::Relaxed, "");
        report.note(Rule::ResultsDigest, Outcome::NotCheckable, "why");
        let kept = RuleNote::of(&report);
        let read: Vec<RuleNote> = serde_json::from_str(&serde_json::to_string(&kept).unwrap()).unwrap();
        assert_eq!(read, kept);
        let outcomes: Vec<_> = read.iter().map(RuleNote::outcome).collect();
        assert_eq!(outcomes, [Some(Outcome::Relaxed), Some(Outcome::NotCheckable)]);
    }
}
