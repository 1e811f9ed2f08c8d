//! Post-run: seals and signs the content after a run, and writes the image for the next stop on the train's base.

use stationmaster_image::{
    disk::spool::Spool,
    oci::{
        image_config::ImageMetadata,
        reference::{ImageName, ImageSource},
    },
    opt::train_dirs::TrainDir,
    store::recipe::{BuiltImage, ImageSpec},
    tar::{entry::FileAttrs, layer_writer::LayerPlan},
};
use stationmaster_system::failpoint;
use stationmaster_train::{
    config::TrainConfig,
    digest::Digest,
    envelope::EnvelopeKey,
    route::{OwnStop, own_stop},
    rule::{Report, Rule},
    seal::{Closing, next_config, user_key_bytes, wrap_for},
    verify::own_chain_digest,
};

use super::{pre_run::run_state, recover};
use crate::{
    audit::ImageIds,
    ledger::{OpenInto, PostRunRecord, RuleNote, Run, RunState},
    protocol::{
        AdmittedTrain, Arriving, StepError,
        admission::trust_check::{TrustPhase, receives_key},
        checks::rule_report,
        content::{
            read_sealed::read_train_config,
            seal::{SealedRun, seal_run},
            sealed_contents::{Content, plan_tree},
            train_layer::TrainLayer,
            working_copy::RunOutput,
        },
        context::station::{CallContext, Station},
    },
};

/// Parameters of a post-run.
pub struct PostRunOrder {
    /// The run; if absent, it is found by the image.
    pub run_id: Option<String>,
    /// The image with the results, whose name is written; if absent, the one that pre-run wrote.
    pub image: Option<ImageName>,
    /// Whether the caller confirms that the run left no results.
    pub no_results: bool,
}

/// Result of a post-run.
pub struct PostRunAnswer {
    /// The run.
    pub run_id: String,
    /// Its outcome.
    pub record: PostRunRecord,
    /// Whether the run was already closed before this call.
    pub repeated: bool,
}

/// Seals and signs a prepared run; the contract is documented at the proto's `PostRun`.
pub fn post_run(station: &Station, order: &PostRunOrder, step: &CallContext<'_>) -> Result<PostRunAnswer, StepError> {
    station.trusted_keys()?;
    let mut run = find_run(station, order, step)?;
    step.authorize_run(&run)?;
    let _claim = station.claim(&run.session_id)?;
    run = station.run(&run.id)?;
    if run.state == RunState::Closing {
        // This call holds the claim, so no other call works on the run: it was interrupted, and its roll-back too.
        recover::recover_run(station, &run)?;
        run = station.run(&run.id)?;
    }
    let image: ImageName = match &order.image {
        Some(image) => image.clone(),
        None => run.image.parse()?,
    };
    match (run.state, run.post_run.clone()) {
        (RunState::Completed, Some(mut record)) if order.image.is_none() || record.image == image.to_string() => {
            if !record.plaintext_held_by.is_empty() {
                // Whatever held it may have released it.
                recover::clean_up_completed(station, &run, run.closing_image.as_deref().unwrap_or_default(), &mut record);
                station.ledger.record_post_run(&run.id, &record)?;
            }
            annotate_outcome(&record, step);
            return Ok(PostRunAnswer { run_id: run.id, record, repeated: true });
        }
        (RunState::Prepared, _) => {}
        _ => return Err(run_state(run)),
    }
    station.images.check_retag(&run.image.parse()?, &image)?;
    let image_id = station.image_id(&ImageSource::Name(image.clone()))?;
    step.annotate(|entry| {
        entry.images = Some(ImageIds { name: Some(image.to_string()), input: Some(image_id.clone()), output: None });
    });
    if !order.no_results && run.opened_image.as_deref() == Some(&image_id) {
        // Whatever ran, its container was not committed under this name.
        return Err(StepError::Unchanged { id: run.id, image: image.to_string() });
    }
    station.ledger.begin_closing(&run.id, &image_id)?;
    failpoint::point("post-run/intent");
    step.end_phase("intent");
    match close(station, &run, &image, &image_id, order.no_results, step) {
        Ok(mut record) => {
            if let Err(error) = recover::complete(station, &run, &image_id, &mut record) {
                // The name has moved, so this is completed and not undone.
                recover::note_recovery_failure(station, &run.id, &error);
                return Err(error);
            }
            failpoint::point("post-run/completed");
            step.end_phase("clean");
            step.log_phases("post-run", &run.id, "done");
            annotate_outcome(&record, step);
            Ok(PostRunAnswer { run_id: run.id, record, repeated: false })
        }
        Err(error) => {
            if let Err(second) = recover::roll_back_closing(station, &run.id) {
                recover::note_recovery_failure(station, &run.id, &second);
            }
            Err(error)
        }
    }
}

/// Notes the outcome for the record of the step.
fn annotate_outcome(record: &PostRunRecord, step: &CallContext<'_>) {
    step.annotate(|entry| {
        entry.images.get_or_insert_default().output = Some(record.image_id.clone());
        entry.digests.get_or_insert_default().results_out = Some(record.results_digest.clone());
        entry.rules = rule_report::recorded(&record.rules);
    });
}

/// Returns the run that a call refers to.
fn find_run(station: &Station, order: &PostRunOrder, step: &CallContext<'_>) -> Result<Run, StepError> {
    match (&order.run_id, &order.image) {
        (Some(id), _) => named_run(station, id, step),
        (None, Some(image)) => {
            let id = station.image_id(&ImageSource::Name(image.clone()))?;
            // Only the session is read from the image after the run: it identifies the run, and proves nothing.
            let arrived = read_train_config(&*station.images.files(&id)?, step)?;
            station.ledger.of_session(&station.id, &arrived.session_id)?.ok_or_else(|| StepError::NoRunOfImage(image.clone()))
        }
        (None, None) => Err(StepError::Request("name a run_id or an image")),
    }
}

/// Returns the run with that id. A caller whose grants name certain trains does not learn which runs exist.
pub(in crate::protocol) fn named_run(station: &Station, id: &str, step: &CallContext<'_>) -> Result<Run, StepError> {
    station.run(id).or_else(|error| {
        step.caller.may_have_any_train()?;
        Err(error)
    })
}

/// Runs everything between the intent and the clean-up. On an error the caller rolls back.
fn close(
    station: &Station,
    run: &Run,
    image: &ImageName,
    image_id: &str,
    no_results: bool,
    step: &CallContext<'_>,
) -> Result<PostRunRecord, StepError> {
    let (images, ledger) = (&station.images, &station.ledger);
    let base = images.metadata(&run.base_image)?;
    let expected = size_of_left(station, run, image_id, &base)?;
    // The config of pre-run, because the run may have changed the one in the image.
    let config = TrainConfig::parse(&run.config)?;
    let own = own_stop(&config, &station.id)?;
    let believed = station.trusted_keys()?;
    let arriving = Arriving { config: &config, session_id: &run.session_id, own: &own };
    let admitted = station.admit(arriving, &believed, TrustPhase::BeforeWrapping, step)?;
    let key = EnvelopeKey::random().map_err(|_| StepError::Invariant("no random key"))?;
    let spool = Spool::create(&station.spool_directory, expected, station.spool_reserve)?;
    let left = RunOutput::of(station, run, image_id)?;
    failpoint::point("post-run/container");
    step.end_phase("container");
    let sealed = seal_run(|sink| left.read(sink, step), spool, &key, &run.session_id, Some(&run.immutable_files), step)?;
    step.end_phase("read");
    let leaving = left.leave();
    failpoint::point("post-run/sealed");
    let unchanged = left_nothing(run, &sealed);
    // A committed image shows that there was a run. For content outside an image only the results show it.
    if unchanged && !no_results && run.opened_into != OpenInto::Image {
        return Err(StepError::Unchanged { id: run.id.clone(), image: String::new() });
    }

    let next = signed_config(station, &admitted, (&config, &own), &sealed, &key, step)?;
    failpoint::point("post-run/signed");
    step.end_phase("token");
    let created = jiff::Timestamp::now().as_second();
    let plan = sealed_layer(&sealed, &next, created)?;
    let announce = |id: &str| {
        ledger.announce_sealed(&run.id, id).map_err(StepError::from)?;
        failpoint::point("post-run/announced");
        Ok(())
    };
    let (instruction, cancel) = ("stationmaster post-run", &step.cancel);
    let spec = ImageSpec { parent: &base, instruction, created, is_plaintext: false, announce: &announce, cancel };
    let BuiltImage { id: sealed_id, warning } = images.build(&spec, &mut TrainLayer::new(&plan, &sealed.contents, &key, step))?;
    failpoint::point("post-run/loaded");
    step.end_phase("write");
    drop(plan);
    let report = rule_report::of_post_run(station);
    let mut record = record_of(sealed, image, sealed_id.clone(), &report);
    if unchanged {
        record.warnings.push("the run left no new results: what was sealed is what pre-run opened".to_owned());
    }
    record.warnings.extend(rule_report::warnings(station, &report));
    record.warnings.extend(warning.map(str::to_owned));
    ledger.record_post_run(&run.id, &record)?;
    failpoint::point("post-run/recorded");
    if station.image_id(&ImageSource::Name(image.clone()))? != image_id {
        return Err(StepError::ImageChanged);
    }
    step.check_cancelled()?;
    images.tag(&sealed_id, image)?;
    failpoint::point("post-run/named");
    if station.compat.move_latest {
        images.tag(&sealed_id, &image.with_tag("latest"))?;
    }
    failpoint::point("post-run/tagged");
    // It refers to the content that is wiped next.
    drop(leaving);
    step.end_phase("name");
    Ok(record)
}

/// Whether the results equal those that pre-run opened: none, at the first stop.
fn left_nothing(run: &Run, sealed: &SealedRun) -> bool {
    let Some(opened) = &run.pre_run else { return false };
    let before = opened.results_digest.clone().unwrap_or_else(|| Digest::of(&run.session_id).to_hex().as_str().to_owned());
    let files = sealed.contents.results.files.len() as u64;
    // The digest covers contents only: an empty file changes nothing but the number of files.
    before == sealed.results_digest.to_hex().as_str() && opened.result_files.is_none_or(|before| before == files)
}

/// Refuses an image that does not belong to this run. Returns the approximate number of bytes to read (0: unknown).
fn size_of_left(station: &Station, run: &Run, image_id: &str, base: &ImageMetadata) -> Result<u64, StepError> {
    let foreign = || StepError::rule(Rule::ImageOfThisRun, image_id);
    if run.opened_into != OpenInto::Image {
        // The name still refers to the sealed image: the run's output is outside the image.
        return if image_id == run.source_image { Ok(0) } else { Err(foreign()) };
    }
    let opened = run.opened_image.as_deref().ok_or(StepError::Invariant("a prepared run without its image"))?;
    let after = station.images.metadata(image_id)?;
    let of_this_run = after.descends_from(&base.layers) || after.descends_from(&station.images.metadata(opened)?.layers);
    if image_id == run.source_image || !of_this_run { Err(foreign()) } else { Ok(after.size.saturating_sub(base.size)) }
}

/// Signs the results and the chain (two signatures in the token) and wraps the new key for every stop that receives it and the
/// creator.
fn signed_config(
    station: &Station,
    admitted: &AdmittedTrain,
    (config, own): (&TrainConfig, &OwnStop),
    sealed: &SealedRun,
    key: &EnvelopeKey,
    step: &CallContext<'_>,
) -> Result<TrainConfig, StepError> {
    let results_signature = station.sign(admitted, sealed.results_digest.as_bytes(), step)?;
    failpoint::point("post-run/results-signed");
    let chain = own_chain_digest(config, own, &sealed.results_digest).map_err(StepError::untrusted)?;
    let chain_signature = station.sign(admitted, chain.as_bytes(), step)?;
    let keys = wrap_for(config, key, |stop| receives_key(station, own, stop))
        .map_err(|error| StepError::rule(Rule::RouteKeysUsable, error.to_string()))?;
    let closing = Closing {
        results: &sealed.results_digest,
        result_signature: &results_signature,
        chain: &chain,
        chain_signature: &chain_signature,
        keys,
    };
    Ok(next_config(config, own, closing))
}

/// Plans the layer of a sealed train: config, wrapped key, sealed results and code, each directory replaced.
fn sealed_layer<'a>(sealed: &'a SealedRun, next: &TrainConfig, created: i64) -> Result<LayerPlan<'a, Content>, StepError> {
    let mtime = created.unsigned_abs();
    let contents = &sealed.contents;
    let as_stored =
        |file: &crate::protocol::content::sealed_contents::StoredFile| Ok((file.extent.len, Content::Sealed(file.extent)));
    let mut plan = LayerPlan::default();
    plan_tree(
        &mut plan,
        TrainDir::Results,
        true,
        &contents.results,
        contents.results.files.iter(),
        |file| FileAttrs { mtime, ..file.meta },
        as_stored,
    )?;
    plan_tree(
        &mut plan,
        TrainDir::Train,
        true,
        &contents.train,
        contents.train.files.iter(),
        |_| FileAttrs::immutable_file(mtime),
        as_stored,
    )?;
    let user_key = user_key_bytes(next).ok_or(StepError::Invariant("no key for the creator"))?;
    let user_key = user_key.map_err(|_| StepError::Invariant("our own hex cannot be read"))?;
    for (path, bytes) in [("opt/train_config.json", next.to_bytes()), ("opt/user_sym_key.key", user_key)] {
        plan.file(path, FileAttrs::immutable_file(mtime), bytes.len() as u64, Content::Bytes(bytes));
    }
    Ok(plan)
}

fn record_of(sealed: SealedRun, image: &ImageName, image_id: String, report: &Report) -> PostRunRecord {
    let mut warnings = Vec::new();
    if !sealed.dropped.is_empty() {
        warnings.push(format!("{} entries of /opt do not belong to the train and were not taken along", sealed.dropped.len()));
    }
    PostRunRecord {
        image: image.to_string(),
        image_id,
        results_digest: const_hex::encode(sealed.results_digest.as_bytes()),
        result_files: sealed.contents.results.files.len() as u64,
        dropped_files: sealed.dropped.into(),
        plaintext_held_by: Vec::new(),
        warnings,
        rules: RuleNote::of(report),
    }
}
