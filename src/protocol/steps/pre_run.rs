//! Pre-run: verifies a train and opens it under its own name.

use stationmaster_image::{
    disk::spool::Spool,
    oci::reference::{ImageName, ImageSource},
    store::{ImageFiles, PinnedImage},
};
use stationmaster_system::failpoint;
use stationmaster_train::{
    config::TrainConfig,
    route::{OwnStop, own_stop},
    rule::{Report, Rule},
};

use super::recover;
use crate::{
    audit::ImageIds,
    ledger::{NewRun, OpenInto, PreRunRecord, RuleNote, Run, RunState},
    protocol::{
        AdmittedTrain, Arriving, StepError,
        admission::{
            trust_check::TrustPhase,
            verify::{OpenableTrain, Verified, verify_train},
        },
        checks::{base_check, opt_allow_list, rule_report},
        content::{
            read_sealed::{TrainDocument, read_sealed, read_train_config},
            working_copy,
            working_copy::Mount,
            write_plaintext::PlaintextWriter,
        },
        context::station::{CallContext, Station, private_name},
        steps::validate_image,
    },
    trust::TrustSnapshot,
};

/// Parameters of a pre-run.
pub struct PreRunOrder {
    /// The image; the same name is written.
    pub image: ImageName,
    /// The client's idempotency key; derived if absent.
    pub idempotency_key: Option<String>,
    /// The destination of the opened content.
    pub into: OpenInto,
}

/// Result of a pre-run.
pub struct PreRunAnswer {
    /// The run.
    pub run: Run,
    /// Its outcome.
    pub record: PreRunRecord,
    /// The query's bytes.
    pub query: Option<Vec<u8>>,
    /// The mounts that the run's container needs; empty if the content is in the image.
    pub mounts: Vec<Mount>,
    /// Whether the run existed before this call.
    pub repeated: bool,
}

/// Verifies and opens a train; the contract is documented at the proto's `PreRun`.
pub fn pre_run(station: &Station, order: &PreRunOrder, step: &CallContext<'_>) -> Result<PreRunAnswer, StepError> {
    match order.into {
        OpenInto::Directory if station.shared_directory.is_none() => return Err(StepError::NoSharedDirectory),
        OpenInto::Volume => drop(working_copy::containers(station)?),
        _ => {}
    }
    let believed = station.trusted_keys()?;
    let source_id = station.image_id(&ImageSource::Name(order.image.clone()))?;
    step.annotate(|entry| {
        entry.images = Some(ImageIds { name: Some(order.image.to_string()), input: Some(source_id.clone()), output: None });
    });
    if let Some(run) = station.ledger.of_opened_image(&source_id)? {
        return replay_answer(station, order, run, &source_id, &believed, step);
    }
    if let Some(key) = &order.idempotency_key
        && let Some(run) = station.ledger.of_idempotency_key(&station.id, step.caller.principal(), key)?
    {
        return replay_answer(station, order, run, &source_id, &believed, step);
    }
    let files = station.images.files(&source_id)?;
    failpoint::point("pre-run/container");
    step.end_phase("container");
    let arrived = read_train_config(&*files, step)?;
    step.end_phase("config");
    let own = match own_stop(&arrived.config, &station.id) {
        Err(error) => {
            // This train was opened here before: the run is more specific than the route.
            let run = station.ledger.of_session(&station.id, &arrived.session_id)?;
            return Err(run.map_or(error.into(), |run| conflict_error(run, step)));
        }
        other => other?,
    };
    let stop_index = u32::try_from(own.index()).map_err(|_| StepError::Invariant("a stop index beyond u32"))?;
    if let Some(run) = station.ledger.finished(&station.id, &arrived.session_id, stop_index)? {
        return Err(conflict_error(run, step));
    }
    let arriving = Arriving { config: &arrived.config, session_id: &arrived.session_id, own: &own };
    let admitted = station.admit(arriving, &believed, TrustPhase::BeforeRun, step)?;
    let base = order.image.with_tag("base");
    let base_id =
        station.images.find(&ImageSource::Name(base.clone()))?.ok_or_else(|| StepError::BaseMissing(base.to_string()))?;

    let _claim = station.claim(&arrived.session_id)?;
    let new = NewRun {
        id: uuid::Uuid::now_v7().to_string(),
        station: station.id.clone(),
        train_id: arrived.config.id.clone(),
        session_id: arrived.session_id.clone(),
        stop_index,
        principal: step.caller.principal().to_owned(),
        idempotency_key: order
            .idempotency_key
            .clone()
            .unwrap_or_else(|| derived_key(&station.id, &source_id, &arrived.session_id, stop_index)),
        opened_into: order.into,
        image: order.image.to_string(),
        source_image: source_id.clone(),
        base_image: base_id,
        key_label: admitted.key().label.clone(),
        config: arrived.bytes.clone(),
    };
    let run = match station.ledger.begin(&new)? {
        Ok(run) => run,
        Err(holder) if holder.state == RunState::Opening => {
            // This call holds the claim, so no other call works on the run: it was interrupted, and its roll-back too.
            recover::recover_run(station, &holder)?;
            station.ledger.begin(&new)?.map_err(|holder| conflict_error(holder, step))?
        }
        Err(holder) => return replay_answer(station, order, holder, &source_id, &believed, step),
    };
    step.authorize_run(&run)?;
    failpoint::point("pre-run/intent");
    step.end_phase("intent");
    match open(station, order, &run, files, Arrived { config: &arrived, own: &own, admitted: &admitted }, step) {
        Ok((record, query)) => {
            let mounts = working_copy::mounts(station, &run)?;
            step.end_phase("clean");
            step.log_phases("pre-run", &run.id, "done");
            annotate_outcome(&record, step);
            Ok(PreRunAnswer { run: Run { state: RunState::Prepared, ..run }, record, query, mounts, repeated: false })
        }
        Err(error) => {
            step.log_phases("pre-run", &run.id, "not done");
            if let Err(second) = recover::roll_back_opening(station, &run.id, &error.to_string()) {
                recover::note_recovery_failure(station, &run.id, &second);
            }
            Err(error)
        }
    }
}

/// The facts about a train that are known before the token is used.
struct Arrived<'a> {
    config: &'a TrainDocument,
    own: &'a OwnStop,
    admitted: &'a AdmittedTrain,
}

/// Runs everything between the intent and the response. On an error the caller rolls back.
fn open(
    station: &Station,
    order: &PreRunOrder,
    run: &Run,
    files: Box<dyn ImageFiles>,
    arrived: Arrived<'_>,
    step: &CallContext<'_>,
) -> Result<(PreRunRecord, Option<Vec<u8>>), StepError> {
    let Arrived { config: arrived, own, admitted } = arrived;
    let (images, ledger) = (&station.images, &station.ledger);
    images.tag(&run.source_image, &private_name(station, PinnedImage::Sealed, run)?)?;
    failpoint::point("pre-run/keeping");
    images.tag(&run.base_image, &private_name(station, PinnedImage::Base, run)?)?;
    failpoint::point("pre-run/kept");
    let (parent, base) = (images.metadata(&run.source_image)?, images.metadata(&run.base_image)?);
    if parent.hides_train() || base.hides_train() {
        return Err(StepError::rule(Rule::NoVolumes, ""));
    }
    base_check::check_history(station, &base)?;
    validate_image::enforce_master_image(station, &run.source_image, step)?;
    step.end_phase("keep");
    let key = station.unwrap_envelope_key(admitted, step)?;
    failpoint::point("pre-run/unwrapped");
    step.end_phase("token");
    // The size above the base estimates what will be copied; each file is checked against the free space again.
    let expected = parent.size.saturating_sub(base.size);
    let mut landing = match run.opened_into {
        OpenInto::Directory => Some(working_copy::directory(station, &run.id)?.create(expected, station.spool_reserve)?),
        OpenInto::Image | OpenInto::Volume => None,
    };
    failpoint::point("pre-run/landing");
    // If results are opened into a directory, the spool holds little more than the code.
    let spooled = if landing.is_some() { 0 } else { expected };
    let spool = Spool::create(&station.spool_directory, spooled, station.spool_reserve)?;
    let results = (!own.is_first()).then_some((&key, arrived.session_id.as_slice()));
    let (contents, results_digest) = read_sealed(&*files, spool, results, landing.as_mut(), expected, step)?;
    failpoint::point("pre-run/read");
    // Removed in the background before the response, during the remaining work.
    let _leaving = files.remove_in_background();
    step.end_phase("read");
    opt_allow_list::check(station, &run.base_image, &contents, step)?;
    let train = verify_train(&station.policy, arrived, own, contents, key, results_digest, step);
    step.end_phase("verify");
    let train = train?;
    if station.policy.refuse_unlisted
        && let Some(path) = train.unlisted_files().first()
    {
        return Err(StepError::rule(Rule::UnlistedFiles, path.as_str()));
    }
    // The train is verified: from here on its session is bound to its present statements.
    station.bind_session(&arrived.config, &arrived.session_id, own.index())?;
    let mut warnings = admitted.first_seen().pin(station, step)?;
    failpoint::point("pre-run/verified");

    let writing = PlaintextWriter { station, run, arrived, own, train: &train, step };
    // Runs in parallel with the writing, which waits for the engine.
    let opened = std::thread::scope(|scope| {
        let base = scope.spawn(|| base_check::check_code(station, run, &train, step));
        let opened = match landing {
            Some(landing) => writing.directory(landing, &mut warnings),
            None if run.opened_into == OpenInto::Volume => writing.volumes(),
            None => writing.image(&parent, &mut warnings),
        };
        base.join().unwrap_or(Err(StepError::Invariant("the look at the base broke off")))?;
        opened
    })?;
    failpoint::point("pre-run/loaded");
    step.end_phase("write");

    let mut report = rule_report::of_pre_run(station, own, train.unlisted_files().len());
    rule_report::note_first_seen(&mut report, admitted.first_seen());
    warnings.extend(rule_report::warnings(station, &report));
    let record = record_of(&train, own, opened.clone(), warnings, &report);
    ledger.record_pre_run(&run.id, &record, &train.files)?;
    failpoint::point("pre-run/recorded");
    if station.image_id(&ImageSource::Name(order.image.clone()))? != run.source_image {
        return Err(StepError::ImageChanged);
    }
    step.check_cancelled()?;
    if run.opened_into == OpenInto::Image {
        images.tag(&opened, &order.image)?;
    }
    failpoint::point("pre-run/tagged");
    ledger.advance(&run.id, RunState::Opening, RunState::Prepared)?;
    failpoint::point("pre-run/prepared");
    step.end_phase("name");
    Ok((record, train.query.as_ref().map(|query| query.to_vec())))
}

/// Notes the outcome for the record of the step.
fn annotate_outcome(record: &PreRunRecord, step: &CallContext<'_>) {
    step.annotate(|entry| {
        entry.images.get_or_insert_default().output = Some(record.image_id.clone());
        let digests = entry.digests.get_or_insert_default();
        digests.immutable = Some(record.immutable_digest.clone());
        digests.results_in.clone_from(&record.results_digest);
        entry.rules = rule_report::recorded(&record.rules);
    });
}

fn record_of(
    train: &Verified<OpenableTrain>,
    own: &OwnStop,
    image_id: String,
    mut warnings: Vec<String>,
    report: &Report,
) -> PreRunRecord {
    let dropped_files = train.unlisted_files();
    if !dropped_files.is_empty() {
        warnings.push(format!(
            "{} files under pht_train are not in file_list: they are not signed and were dropped",
            dropped_files.len()
        ));
    }
    if own.is_first() && !train.contents.results.files.is_empty() {
        warnings.push("the train came to its first stop with files in pht_results: they are not signed and were dropped".into());
    }
    PreRunRecord {
        image_id,
        has_query: train.query.is_some(),
        dropped_files: dropped_files.into(),
        immutable_digest: const_hex::encode(train.immutable_digest.as_bytes()),
        results_digest: train.results_digest.as_ref().map(|digest| const_hex::encode(digest.as_bytes())),
        result_files: Some(if own.is_first() { 0 } else { train.contents.results.files.len() as u64 }),
        warnings,
        rules: RuleNote::of(report),
    }
}

/// Returns the earlier response to a repeated call, or reports the state of the run.
fn replay_answer(
    station: &Station,
    order: &PreRunOrder,
    run: Run,
    image_id: &str,
    believed: &TrustSnapshot,
    step: &CallContext<'_>,
) -> Result<PreRunAnswer, StepError> {
    step.authorize_run(&run)?;
    // A run of an older version has no principal: its idempotency key matches any caller that names it.
    let is_own = run.principal.as_deref().is_none_or(|principal| principal == step.caller.principal());
    let is_same_key = is_own && order.idempotency_key.as_ref() == Some(&run.idempotency_key);
    if is_same_key && !run.has_image(image_id) {
        return Err(StepError::IdempotencyMismatch);
    }
    if (order.idempotency_key.is_some() && !is_same_key)
        || (run.source_image != image_id && run.opened_image.as_deref() != Some(image_id))
        || run.state != RunState::Prepared
        || run.image != order.image.to_string()
        || run.opened_into != order.into
    {
        return Err(conflict_error(run, step));
    }
    // The response is plaintext: it is returned only where a first call would return it, and only if the train is still trusted.
    let config = TrainConfig::parse(&run.config)?;
    let own = own_stop(&config, &station.id)?;
    station.admit(Arriving { config: &config, session_id: &run.session_id, own: &own }, believed, TrustPhase::ToRead, step)?;
    let record = run.pre_run.clone().ok_or(StepError::Invariant("a prepared run without its outcome"))?;
    annotate_outcome(&record, step);
    // The name may have been moved back to the sealed image (a repeated pull): the response must be true again.
    if run.opened_image.as_deref().is_some_and(|opened| opened != image_id) {
        station.images.tag(&record.image_id, &order.image)?;
    }
    let query = if record.has_query { Some(working_copy::read_query(station, &run, step)?) } else { None };
    let mounts = working_copy::mounts(station, &run)?;
    Ok(PreRunAnswer { run, record, query, mounts, repeated: true })
}

/// Returns why a run prevents a train from being opened, for a caller that is granted the run.
fn conflict_error(run: Run, step: &CallContext<'_>) -> StepError {
    if let Err(refused) = step.authorize_run(&run) {
        return refused;
    }
    match run.state {
        RunState::Completed => StepError::Replayed { run: run.id, stop: run.stop_index },
        _ => run_state(run),
    }
}

pub(in crate::protocol) fn run_state(run: Run) -> StepError {
    StepError::RunState { id: run.id, state: run.state }
}

/// Derives the idempotency key of a call without one from the properties that identify the call.
fn derived_key(station: &str, image_id: &str, session_id: &[u8], stop: u32) -> String {
    format!("derived/{station}/{image_id}/{}/{stop}/pre-run", const_hex::encode(session_id))
}
