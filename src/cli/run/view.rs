//! Output of a run. Nothing of it is secret: the ledger contains no plaintext and no key.

use serde_json::{Value, json};

use crate::{
    cli::{
        output::{fields, printable, table},
        train::rules,
    },
    ledger::{RuleNote, Run},
};
use stationmaster_image::oci::reference::ImageId;

/// Formats a time of the ledger.
pub(in crate::cli) fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// Returns the digest of a run's config in hex; empty if it is not known yet.
fn config_sha256(run: &Run) -> String {
    run.config_sha256.map(|digest| digest.to_hex()).unwrap_or_default()
}

/// Returns the fields of a run in a list.
pub(in crate::cli) fn summary(run: &Run) -> Value {
    json!({
        "run_id": run.id.to_string(),
        "state": run.state.as_str(),
        "station": run.station,
        "train_id": run.train_id,
        "session_id": const_hex::encode(&run.session_id),
        "stop_index": run.stop_index.get(),
        "image": run.image,
        "opened_into": run.opened_into.as_str(),
        "created_at": time(run.created_at),
        "updated_at": time(run.updated_at),
        "reason": run.reason,
        "abandoned_by": run.abandoned_by,
        "released": run.released.as_ref().map(|release| json!({
            "at": time(release.at), "by": release.by, "reason": release.reason,
        })),
    })
}

/// Returns all fields of a run.
pub(super) fn value(run: &Run) -> Value {
    let mut value = summary(run);
    let more = json!({
        "principal": run.principal,
        "idempotency_key": run.idempotency_key,
        "key_label": run.key_label,
        "config_sha256": config_sha256(run),
        "source_image_id": run.source_image.to_string(),
        "base_image_id": run.base_image.to_string(),
        "opened_image_id": run.opened_image.as_ref().map(ImageId::to_string),
        "closing_image_id": run.closing_image.as_ref().map(ImageId::to_string),
        "sealed_image_id": run.sealed_image.as_ref().map(ImageId::to_string),
        "plaintext_held_by": held(run),
        "immutable_files": run.immutable_files,
        "pre_run": run.pre_run,
        "post_run": run.post_run,
    });
    if let (Value::Object(all), Value::Object(more)) = (&mut value, more) {
        all.extend(more);
    }
    value
}

/// Returns the containers that still contained plaintext when the run ended.
pub(super) fn held(run: &Run) -> &[String] {
    run.post_run.as_ref().map_or(&run.held, |record| &record.plaintext_held_by)
}

/// Returns a note on a run for people.
pub(super) fn note(run: &Run) -> String {
    match (&run.released, &run.abandoned_by) {
        (Some(_), _) => "allowed again".into(),
        (None, Some(_)) => "abandoned".into(),
        (None, None) => String::new(),
    }
}

pub(super) fn people(run: &Run) -> String {
    let some = |text: &Option<String>| text.clone().unwrap_or_default();
    let image = |id: &Option<ImageId>| id.as_ref().map(ImageId::to_string).unwrap_or_default();
    let (pre, post) = (run.pre_run.as_ref(), run.post_run.as_ref());
    let mut text = fields(&[
        ("Run", run.id.to_string()),
        ("State", run.state.as_str().to_owned()),
        ("Reason", some(&run.reason)),
        ("Abandoned by", some(&run.abandoned_by)),
        (
            "Allowed again",
            run.released.as_ref().map_or(String::new(), |it| format!("{} by {}: {}", time(it.at), it.by, it.reason)),
        ),
        ("Station", run.station.clone()),
        ("Train", run.train_id.clone()),
        ("Session", const_hex::encode(&run.session_id)),
        ("Stop", run.stop_index.to_string()),
        ("Image", run.image.clone()),
        ("Opened into", run.opened_into.as_str().to_owned()),
        ("Started", time(run.created_at)),
        ("Changed", time(run.updated_at)),
        ("Principal", some(&run.principal)),
        ("Idempotency key", run.idempotency_key.clone()),
        ("Station key", run.key_label.clone()),
        ("Config", format!("sha256 {}", config_sha256(run))),
        ("Source image", run.source_image.to_string()),
        ("Base", run.base_image.to_string()),
        ("Opened image", image(&run.opened_image)),
        ("Closing image", image(&run.closing_image)),
        ("Sealed image", image(&run.sealed_image)),
        ("Immutable files", pre.map_or(String::new(), |record| record.immutable_digest.clone())),
        ("Results before", pre.and_then(|record| record.results_digest.clone()).unwrap_or_default()),
        ("Results after", post.map_or(String::new(), |record| record.results_digest.clone())),
        ("Result files", post.map_or(String::new(), |record| record.result_files.to_string())),
        ("Dropped before", pre.map_or(String::new(), |record| record.dropped_files.join(", "))),
        ("Dropped after", post.map_or(String::new(), |record| record.dropped_files.join(", "))),
        ("Held by", held(run).join(", ")),
    ]);
    for (step, warnings) in [("pre-run", pre.map(|record| &record.warnings)), ("post-run", post.map(|record| &record.warnings))] {
        for warning in warnings.into_iter().flatten() {
            text += &format!("warning: {step}: {}\n", printable(warning));
        }
    }
    let (before, after) = (pre.map_or(&[][..], |record| &record.rules), post.map_or(&[][..], |record| &record.rules));
    if !before.is_empty() || !after.is_empty() {
        text += &format!("\n{}", rule_table(before, after));
    }
    if !run.immutable_files.is_empty() {
        let row = |file: &crate::ledger::FileDigest| vec![printable(&file.path), file.sha256.to_hex()];
        text += &format!("\n{}", table(&["FILE", "SHA-256"], run.immutable_files.iter().map(row).collect()));
    }
    text
}

/// Formats each rule's outcome at both steps; a note that both have is shown once.
fn rule_table(before: &[RuleNote], after: &[RuleNote]) -> String {
    let find = |notes: &'_ [RuleNote], rule: &str| notes.iter().position(|note| note.rule == rule);
    let mut names: Vec<&str> = before.iter().map(|note| note.rule.as_str()).collect();
    names.extend(after.iter().map(|note| note.rule.as_str()).filter(|rule| find(before, rule).is_none()));
    let row = |rule: &&str| {
        let notes = [find(before, rule).map(|at| &before[at]), find(after, rule).map(|at| &after[at])];
        let outcome = |note: Option<&RuleNote>| note.map_or("-", |note| rules::word(&note.rule, &note.outcome)).to_owned();
        let mut texts: Vec<&str> =
            notes.iter().flatten().map(|note| note.note.as_str()).filter(|note| !note.is_empty()).collect();
        texts.dedup();
        vec![printable(rule), printable(&outcome(notes[0])), printable(&outcome(notes[1])), printable(&texts.join("; "))]
    };
    table(&["RULE", "PRE-RUN", "POST-RUN", "NOTE"], names.iter().map(row).collect())
}
