//! Outcomes of steps as the ledger keeps them, to return them again on a repeated call.

use serde::{Deserialize, Serialize};
use stationmaster_image::oci::reference::ImageId;
use stationmaster_train::{
    digest::Sha256Digest,
    rule::{Outcome, Report},
};

/// Names in a row and a response: as many as fit, and the number of the others. A train's author chooses the names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Names(Vec<String>);

impl Names {
    /// Maximum total length of the names, in bytes: a response with as many reaches its caller.
    const BYTES: usize = 64 * 1024;

    /// Returns the names.
    #[must_use]
    pub fn into_vec(self) -> Vec<String> {
        self.0
    }
}

impl From<Vec<String>> for Names {
    fn from(mut names: Vec<String>) -> Self {
        let mut room = Self::BYTES;
        let fitting = names.iter().take_while(|name| {
            let fits = name.len() < room;
            room = room.saturating_sub(name.len() + 1);
            fits
        });
        let kept = fitting.count();
        let more = names.len() - kept;
        names.truncate(kept);
        if more > 0 {
            names.push(format!("… and {more} more"));
        }
        Self(names)
    }
}

impl std::ops::Deref for Names {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.0
    }
}

/// An immutable file as pre-run saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDigest {
    /// Path below `pht_train`.
    pub path: String,
    /// Digest of its plaintext; in hex in the row.
    #[serde(with = "hex")]
    pub sha256: Sha256Digest,
}

/// A SHA-256 digest in hex, without its algorithm.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use stationmaster_train::digest::Sha256Digest;

    pub(super) fn serialize<S: Serializer>(digest: &Sha256Digest, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&digest.to_hex())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Sha256Digest, D::Error> {
        Sha256Digest::from_hex(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// A pre-run's outcome, kept for repeated calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreRunRecord {
    /// Id of the image to run: the opened one; the sealed one when its content is opened outside an image.
    pub image_id: ImageId,
    /// Whether the train has a query. Its bytes are with the opened content only.
    pub has_query: bool,
    /// Immutable files dropped because `file_list` does not name them.
    pub dropped_files: Names,
    /// Verified digest of the immutable files, hex.
    pub immutable_digest: String,
    /// Verified digest of the results found, hex; `None` at the first stop.
    pub results_digest: Option<String>,
    /// Result files that were opened; `None` in rows of older versions.
    #[serde(default)]
    pub result_files: Option<u64>,
    /// Warnings for people.
    pub warnings: Vec<String>,
    /// The outcome of each rule; empty in rows of older versions.
    #[serde(default)]
    pub rules: Vec<RuleNote>,
}

/// The outcome of a rule, as it was returned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleNote {
    /// The rule's name.
    pub rule: String,
    /// [`Outcome::name`].
    pub outcome: String,
    /// A note for people; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl RuleNote {
    /// Converts a report to its stored form.
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

    /// Returns the outcome; `None` when a newer version wrote the row.
    pub fn outcome(&self) -> Option<Outcome> {
        Outcome::from_name(&self.outcome)
    }
}

/// A post-run's outcome, kept for repeated calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostRunRecord {
    /// The image reference that was written.
    pub image: String,
    /// Id of the sealed image.
    pub image_id: ImageId,
    /// Digest of the results as signed, hex.
    pub results_digest: String,
    /// Result files sealed.
    pub result_files: u64,
    /// Files that were not included.
    pub dropped_files: Names,
    /// Containers and other objects that still hold a plaintext image.
    pub plaintext_held_by: Vec<String>,
    /// Warnings for people.
    pub warnings: Vec<String>,
    /// The outcome of each rule; empty in rows of older versions.
    #[serde(default)]
    pub rules: Vec<RuleNote>,
}

#[cfg(test)]
mod tests {
    use stationmaster_train::rule::Rule;

    use super::*;

    #[test]
    fn rows_of_a_version_without_reports_are_read() {
        let pre_run = r#"{"image_id":"sha256:0000000000000000000000000000000000000000000000000000000000000000","has_query":false,"dropped_files":[],"immutable_digest":"00","results_digest":null,"warnings":[]}"#;
        assert_eq!(serde_json::from_str::<PreRunRecord>(pre_run).unwrap().rules, []);
        let post_run = r#"{"image":"i","image_id":"sha256:0000000000000000000000000000000000000000000000000000000000000000","results_digest":"00","result_files":0,"dropped_files":[],"plaintext_held_by":[],"warnings":[]}"#;
        assert_eq!(serde_json::from_str::<PostRunRecord>(post_run).unwrap().rules, []);
    }

    #[test]
    fn a_row_holds_as_many_names_as_an_answer_can_and_counts_the_rest() {
        let few = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(Names::from(few.clone()).into_vec(), few);
        let many: Vec<String> = (0..100_000).map(|number| format!("{number:0>200}")).collect();
        let names = Names::from(many);
        assert!(names.len() > 300 && serde_json::to_string(&names).unwrap().len() < 80 * 1024);
        let told: u64 = names.last().unwrap().split(' ').nth(2).unwrap().parse().unwrap();
        assert_eq!(told + names.len() as u64 - 1, 100_000);
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
