//! Converts the results of steps to messages.

use stationmaster_image::oci::reference::ImageId;
use stationmaster_proto as pb;
use stationmaster_train::{
    config::RouteStop,
    keys::PublicKey,
    route::StopIndex,
    rule::{Outcome, Report},
};

use crate::{
    ledger::{OpenInto, RuleNote},
    protocol::{
        Inspection, ListedFile, Mount, MountSource, PostRunAnswer, PreRunAnswer, PushFinding, PushVerdict, ResultsAnswer,
        ResultsPart, Verification,
    },
    service::status::{Reason, Refusal},
};

pub(super) fn pre_run(answer: PreRunAnswer) -> pb::PreRunOutcome {
    let (run, record) = (answer.run, answer.record);
    pb::PreRunOutcome {
        run_id: run.id.to_string(),
        image: run.image,
        image_id: record.image_id.to_string(),
        source_image_id: run.source_image.to_string(),
        session_id: run.session_id,
        stop_index: run.stop_index.get(),
        has_query: answer.query.is_some(),
        query: answer.query.unwrap_or_default(),
        dropped_files: record.dropped_files.into_vec(),
        immutable_digest: bytes(&record.immutable_digest),
        results_digest: record.results_digest.as_deref().map(bytes).unwrap_or_default(),
        warnings: record.warnings,
        repeated_answer: answer.repeated,
        mounts: answer.mounts.into_iter().map(mount).collect(),
        rules: kept_rules(record.rules),
    }
}

pub(super) fn into(number: i32) -> Result<OpenInto, Refusal> {
    match pb::OpenInto::try_from(number) {
        Ok(pb::OpenInto::Unspecified | pb::OpenInto::Image) => Ok(OpenInto::Image),
        Ok(pb::OpenInto::Volume) => Ok(OpenInto::Volume),
        Ok(pb::OpenInto::Directory) => Ok(OpenInto::Directory),
        Err(_) => Err(Reason::MalformedRequest.status("no such place to open a train into").with_field("into", "unknown value")),
    }
}

fn mount(mount: Mount) -> pb::Mount {
    let source = match mount.source {
        MountSource::Volume(name) => pb::mount::Source::Volume(name),
        MountSource::Directory(path) => pb::mount::Source::Directory(path.to_string_lossy().into_owned()),
    };
    pb::Mount { source: Some(source), target: mount.target, read_only: mount.read_only }
}

pub(super) fn post_run(answer: PostRunAnswer) -> pb::PostRunOutcome {
    let record = answer.record;
    pb::PostRunOutcome {
        run_id: answer.run_id.to_string(),
        image: record.image,
        image_id: record.image_id.to_string(),
        results_digest: bytes(&record.results_digest),
        result_files: record.result_files,
        dropped_files: record.dropped_files.into_vec(),
        plaintext_held_by: record.plaintext_held_by,
        warnings: record.warnings,
        repeated_answer: answer.repeated,
        rules: kept_rules(record.rules),
    }
}

/// Converts a train's inspection.
///
/// # Errors
/// When its route contains an invalid key.
pub fn inspection(found: Inspection) -> Result<pb::InspectTrainResponse, Refusal> {
    let mut route = found.config.route.iter().map(stop).collect::<Result<Vec<_>, _>>()?;
    route.sort_by_key(|stop| stop.index);
    Ok(pb::InspectTrainResponse {
        image_id: optional(found.image_id),
        config_json: found.config_bytes,
        train_id: found.config.id,
        proposal_id: found.config.proposal_id.to_string(),
        session_id: found.session_id,
        creator_id: found.config.creator.id.to_string(),
        route,
        own_index: found.own_index.map(StopIndex::get),
        listed: found.listed.into_iter().map(file).collect(),
        unlisted: found.unlisted.into_iter().map(file).collect(),
        missing: found.missing,
        query: found.query.map(file),
        result_files: found.result_files,
        result_bytes: found.result_bytes,
        base_image_id: optional(found.base_image_id),
    })
}

pub(super) fn verification(found: Verification) -> pb::VerifyTrainResponse {
    let report = &found.proof.report;
    pb::VerifyTrainResponse {
        holds: report.holds(),
        train_id: found.train_id,
        session_id: found.session_id,
        // A route has at most 10,000 stops.
        stops_signed: found.proof.stops_signed as u32,
        stops: found.proof.stops as u32,
        rules: rules(report),
    }
}

pub(super) fn results_part(part: ResultsPart<'_>) -> pb::open_results_response::Event {
    use pb::open_results_response::Event;
    match part {
        ResultsPart::File { path, size } => Event::File(pb::FileEntry { path: path.as_str().to_owned(), size }),
        ResultsPart::Piece(plain) => Event::Chunk(plain.to_vec()),
        ResultsPart::End(sha256) => Event::End(pb::ResultEnd { sha256: sha256.as_bytes().to_vec() }),
    }
}

pub(super) fn results(answer: ResultsAnswer) -> pb::OpenResultsOutcome {
    pb::OpenResultsOutcome {
        image_id: optional(answer.image_id),
        train_id: answer.train_id,
        session_id: answer.session_id,
        stop_index: answer.stop_index.get(),
        // A route has at most 10,000 stops.
        stops_signed: answer.stops_signed as u32,
        stops: answer.stops as u32,
        results_digest: answer.results_digest.map(|digest| digest.as_bytes().to_vec()).unwrap_or_default(),
        result_files: answer.result_files,
        files: answer.given.files,
        bytes: answer.given.bytes,
        warnings: answer.warnings,
        rules: rules(&answer.report),
    }
}

pub(super) fn push_verdict(verdict: PushVerdict) -> pb::CheckPushResult {
    pb::CheckPushResult {
        ok: verdict.report.holds(),
        image_id: verdict.image_id.to_string(),
        // An image has a few hundred layers at most.
        layers: verdict.layers as u32,
        base_layers: verdict.base_layers as u32,
        run_id: verdict.run_id.map(|id| id.to_string()).unwrap_or_default(),
        rules: rules(&verdict.report),
        findings: verdict.findings.into_iter().map(push_finding).collect(),
    }
}

fn push_finding(finding: PushFinding) -> pb::PushFinding {
    pb::PushFinding {
        rule: finding.suspect.rule.name().to_owned(),
        layer: finding.layer as u32,
        layer_digest: finding.layer_digest,
        path: String::from_utf8_lossy(&finding.suspect.path).chars().flat_map(char::escape_debug).collect(),
        why: finding.suspect.why.to_owned(),
    }
}

/// Converts the outcome of a rule.
pub(in crate::service) fn outcome(outcome: Outcome) -> pb::RuleOutcome {
    match outcome {
        Outcome::Checked => pb::RuleOutcome::Checked,
        Outcome::Relaxed => pb::RuleOutcome::Relaxed,
        Outcome::NotCheckable => pb::RuleOutcome::NotCheckable,
        Outcome::Broken => pb::RuleOutcome::Broken,
    }
}

/// Converts the part of a report that the ledger keeps.
fn kept_rules(kept: Vec<RuleNote>) -> Vec<pb::RuleReport> {
    let one = |kept: RuleNote| {
        let outcome = kept.outcome().map_or(pb::RuleOutcome::Unspecified, outcome);
        pb::RuleReport { rule: kept.rule, outcome: outcome.into(), note: kept.note }
    };
    kept.into_iter().map(one).collect()
}

fn rules(report: &Report) -> Vec<pb::RuleReport> {
    let rule = |finding: &stationmaster_train::rule::Finding| pb::RuleReport {
        rule: finding.rule.name().to_owned(),
        outcome: outcome(finding.outcome).into(),
        note: finding.note.clone(),
    };
    report.findings().into_iter().map(rule).collect()
}

fn stop(stop: &RouteStop) -> Result<pb::RouteStop, Refusal> {
    Ok(pb::RouteStop {
        station: stop.station.to_string(),
        ecosystem: stop.eco_system.name().to_owned(),
        index: u32::try_from(stop.index).map_err(|_| Reason::ConfigMalformed.status("a route index below 0 or beyond 2^32"))?,
        fingerprint: PublicKey::from_hex_pem(&stop.rsa_public_key).map(|key| key.fingerprint()).unwrap_or_default(),
        signed: stop.signature.is_some(),
        has_key: stop.encrypted_key.is_some(),
    })
}

fn file(file: ListedFile) -> pb::FileEntry {
    pb::FileEntry { path: file.path, size: file.size }
}

/// Returns the text of an image's id; empty where there is none.
fn optional(id: Option<ImageId>) -> String {
    id.map(|id| id.to_string()).unwrap_or_default()
}

/// Decodes the ledger's hex. It is this project's own data, so invalid hex becomes an empty digest rather than a refusal.
fn bytes(hex: &str) -> Vec<u8> {
    const_hex::decode(hex).unwrap_or_default()
}
