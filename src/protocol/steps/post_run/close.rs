//! The stages of a post-run between the intent in the ledger and the clean-up. The caller rolls back if one fails.

use stationmaster_image::{
    disk::spool::Spool,
    oci::{
        image_config::ImageMetadata,
        reference::{ImageId, ImageName, ImageSource},
    },
    store::{
        PendingRemoval,
        recipe::{BuiltImage, ImageSpec},
    },
};
use stationmaster_system::failpoint;
use stationmaster_train::{
    config::TrainConfig,
    digest::Digest,
    envelope::EnvelopeKey,
    rule::Rule,
    seal::{Closing, next_config, wrap_for},
    verify::own_chain_digest,
};

use super::sealed_layer::sealed_layer;
use crate::{
    ledger::{OpenInto, PostRunRecord, RuleNote, Run},
    protocol::{
        admission::{
            admit::{AdmittedTrain, StopOnRoute},
            authorize::AuthorizedTrain,
            station::Station,
            trust_check::{TrustCheck, TrustPhase, receives_key},
        },
        checks::rule_report,
        content::{
            seal::{SealedRun, seal_run},
            train_layer::TrainLayer,
        },
        context::{call_context::CallContext, error::StepError},
        steps::working_copy::RunOutput,
    },
};

/// Note on the sealed image.
const SEALED: &str =
    "the image is the train's base, as pre-run saw it, and one layer of sealed files; the run's own layers are not in it";

/// A run that is being closed.
pub(super) struct ClosingRun<'a> {
    pub station: &'a Station,
    pub run: &'a Run,
    /// The image after the run: its name, which is written, and its id.
    pub image: &'a ImageName,
    pub image_id: &'a ImageId,
    /// Whether the caller confirms that the run left no results.
    pub no_results: bool,
    pub step: &'a CallContext<'a>,
}

/// Stage 1: the image belongs to the run, and the train is admitted again.
struct Prepared {
    train: AdmittedTrain,
    base: ImageMetadata,
    /// Approximate number of bytes to read; 0 if unknown.
    expected: u64,
}

/// Stage 2: the content after the run is sealed in the spool.
struct Sealed {
    content: SealedRun,
    key: EnvelopeKey,
    /// Whether the results equal those that pre-run opened.
    is_unchanged: bool,
    /// The container of the run's output is removed in the background. It refers to the content that is wiped afterwards.
    removal: PendingRemoval,
}

impl ClosingRun<'_> {
    /// Runs all stages. Returns the outcome.
    pub(super) fn close(&self) -> Result<PostRunRecord, StepError> {
        let prepared = self.prepare()?;
        let sealed = self.seal(&prepared)?;
        let next = self.sign(&prepared.train, &sealed)?;
        let built = self.write(&prepared, &sealed, &next)?;
        let Sealed { content, is_unchanged, removal, .. } = sealed;
        let record = self.record(&prepared.train, content, is_unchanged, built)?;
        self.commit(&record)?;
        drop(removal);
        self.step.end_phase("name");
        Ok(record)
    }

    fn prepare(&self) -> Result<Prepared, StepError> {
        let Self { station, run, step, .. } = self;
        let base = station.images.metadata(&run.base_image)?;
        // The config of pre-run, because the run may have changed the one in the image.
        let train = AuthorizedTrain::authorize_run(run, step)?;
        let expected = self.size_of_output(&base)?;
        train.rules().checked(Rule::ImageOfThisRun);
        let stop = StopOnRoute::to_run(&train.document().config, &station.id)?;
        let trust = TrustCheck { trusted: &station.trusted_keys()?, phase: TrustPhase::BeforeWrapping };
        Ok(Prepared { train: train.admit(station, stop, trust, step)?, base, expected })
    }

    /// Refuses an image that does not belong to this run. Returns the approximate number of bytes to read (0: unknown).
    fn size_of_output(&self, base: &ImageMetadata) -> Result<u64, StepError> {
        let Self { station, run, image_id, .. } = *self;
        let foreign = || StepError::rule(Rule::ImageOfThisRun, image_id.to_string());
        if run.opened_into != OpenInto::Image {
            // The name still refers to the sealed image: the run's output is outside the image.
            return if *image_id == run.source_image { Ok(0) } else { Err(foreign()) };
        }
        let opened = run.opened_image.as_ref().ok_or(StepError::Invariant("a prepared run without its image"))?;
        let after = station.images.metadata(image_id)?;
        let of_this_run = after.descends_from(&base.layers) || after.descends_from(&station.images.metadata(opened)?.layers);
        if *image_id == run.source_image || !of_this_run { Err(foreign()) } else { Ok(after.size.saturating_sub(base.size)) }
    }

    fn seal(&self, prepared: &Prepared) -> Result<Sealed, StepError> {
        let Self { station, run, step, .. } = self;
        let key = EnvelopeKey::random().map_err(|_| StepError::Invariant("no random key"))?;
        let spool = Spool::create(&station.spool_directory, prepared.expected, station.spool_reserve)?;
        let output = RunOutput::of(station, run, Some(self.image_id))?;
        failpoint::point("post-run/container");
        step.end_phase("container");
        let (rules, immutable) = (prepared.train.rules(), Some(run.immutable_files.as_slice()));
        let content = seal_run(|sink| output.read(sink, step), spool, &key, &run.session_id, immutable, rules, step)?;
        // The immutable files of pre-run include unlisted ones only if the rule is relaxed.
        rules.enforced(Rule::UnlistedFiles, station.enforces(Rule::UnlistedFiles));
        step.end_phase("read");
        let removal = output.leave();
        failpoint::point("post-run/sealed");
        let is_unchanged = has_no_new_results(run, &content);
        // A committed image shows that there was a run. For content outside an image only the results show it.
        if is_unchanged && !self.no_results && run.opened_into != OpenInto::Image {
            return Err(StepError::Unchanged { id: run.id, image: String::new() });
        }
        Ok(Sealed { content, key, is_unchanged, removal })
    }

    /// Signs the results and the chain (two signatures in the token) and wraps the new key for every stop that receives it and
    /// the creator.
    fn sign(&self, train: &AdmittedTrain, sealed: &Sealed) -> Result<TrainConfig, StepError> {
        let Self { station, step, .. } = self;
        let (config, own, results) = (&train.document().config, &train.stop().own, &sealed.content.results_digest);
        let result_signature = train.sign(station, results.as_bytes(), step)?;
        failpoint::point("post-run/results-signed");
        let chain = own_chain_digest(config, own, results).map_err(StepError::untrusted)?;
        let chain_signature = train.sign(station, chain.as_bytes(), step)?;
        let keys = wrap_for(config, &sealed.key, |stop| receives_key(station, own, stop))
            .map_err(|error| StepError::rule(Rule::RouteKeysUsable, error.to_string()))?;
        train.rules().checked(Rule::RouteKeysUsable);
        train.rules().enforced(Rule::PastStopsExcluded, station.enforces(Rule::PastStopsExcluded));
        let (result_signature, chain_signature) = (&result_signature[..], &chain_signature[..]);
        let next = next_config(config, own, Closing { results, result_signature, chain: &chain, chain_signature, keys });
        failpoint::point("post-run/signed");
        step.end_phase("token");
        Ok(next)
    }

    /// Writes the sealed image on the train's base. It has no name yet.
    fn write(&self, prepared: &Prepared, sealed: &Sealed, next: &TrainConfig) -> Result<BuiltImage, StepError> {
        let Self { station, run, step, .. } = self;
        let created = jiff::Timestamp::now().as_second();
        let (parent, plan) = (&prepared.base, &sealed_layer(&sealed.content, next, created)?);
        let announce = |id: &ImageId| {
            station.ledger.announce_sealed(run.id, id).map_err(StepError::from)?;
            failpoint::point("post-run/announced");
            Ok(())
        };
        let (instruction, cancel) = ("stationmaster post-run", &step.cancel);
        let spec = ImageSpec { parent, instruction, created, is_plaintext: false, announce: &announce, cancel };
        let mut layer = TrainLayer::new(plan, &sealed.content.contents, &sealed.key, step);
        let built = station.images.build(&spec, &mut layer)?;
        failpoint::point("post-run/loaded");
        step.end_phase("write");
        prepared.train.rules().enforced_as(Rule::NoPlaintextLayers, station.enforces(Rule::NoPlaintextLayers), SEALED);
        Ok(built)
    }

    /// Writes the outcome to the ledger.
    fn record(
        &self,
        train: &AdmittedTrain,
        content: SealedRun,
        is_unchanged: bool,
        built: BuiltImage,
    ) -> Result<PostRunRecord, StepError> {
        let report = train.rules().report();
        let mut warnings = Vec::new();
        if !content.dropped.is_empty() {
            let count = content.dropped.len();
            warnings.push(format!("{count} entries of /opt do not belong to the train and were not taken along"));
        }
        if is_unchanged {
            warnings.push("the run left no new results: what was sealed is what pre-run opened".to_owned());
        }
        warnings.extend(rule_report::warnings(self.station, &report));
        warnings.extend(built.warning.map(str::to_owned));
        let record = PostRunRecord {
            image: self.image.to_string(),
            image_id: built.id,
            results_digest: const_hex::encode(content.results_digest.as_bytes()),
            result_files: content.contents.results.files.len() as u64,
            dropped_files: content.dropped.into(),
            plaintext_held_by: Vec::new(),
            warnings,
            rules: RuleNote::of(&report),
        };
        self.station.ledger.record_post_run(self.run.id, &record)?;
        failpoint::point("post-run/recorded");
        Ok(record)
    }

    /// Moves the names to the sealed image.
    fn commit(&self, record: &PostRunRecord) -> Result<(), StepError> {
        let Self { station, image, image_id, step, .. } = *self;
        if station.image_id(&ImageSource::Name(image.clone()))? != *image_id {
            return Err(StepError::ImageChanged);
        }
        step.check_cancelled()?;
        station.images.tag(&record.image_id, image)?;
        failpoint::point("post-run/named");
        if station.compat.move_latest {
            station.images.tag(&record.image_id, &image.with_tag("latest"))?;
        }
        failpoint::point("post-run/tagged");
        Ok(())
    }
}

/// Whether the results equal those that pre-run opened: none, at the first stop.
fn has_no_new_results(run: &Run, sealed: &SealedRun) -> bool {
    let Some(opened) = &run.pre_run else { return false };
    let before = opened.results_digest.clone().unwrap_or_else(|| Digest::of(&run.session_id).to_hex().as_str().to_owned());
    let files = sealed.contents.results.files.len() as u64;
    // The digest covers contents only: an empty file changes nothing but the number of files.
    before == sealed.results_digest.to_hex().as_str() && opened.result_files.is_none_or(|before| before == files)
}
