//! The stages of a pre-run between the intent in the ledger and the response. The caller rolls back if one fails.

use stationmaster_image::{
    disk::spool::Spool,
    oci::{
        image_config::ImageMetadata,
        reference::{ImageId, ImageSource},
    },
    opt::working_dir::DirectoryWriter,
    store::{ImageFiles, PendingRemoval, PinnedImage},
};
use stationmaster_system::failpoint;
use stationmaster_train::rule::{Report, Rule};

use super::{PreRunOrder, write_plaintext::PlaintextWriter};
use crate::{
    ledger::{OpenInto, PreRunRecord, RuleNote, Run, RunState},
    protocol::{
        admission::{
            admit::AdmittedTrain,
            station::Station,
            unwrap::{ReadTrain, UnwrappedTrain},
            verify::VerifiedTrain,
        },
        checks::{base_check, opt_allow_list, rule_report},
        content::read_sealed::Destination,
        context::{call_context::CallContext, error::StepError, rule_log::RuleLog},
        steps::{runs::private_name, validate_image, working_copy},
    },
};

/// A run that is being opened.
pub(super) struct Opening<'a> {
    pub station: &'a Station,
    pub order: &'a PreRunOrder,
    pub run: &'a Run,
    pub step: &'a CallContext<'a>,
}

/// Stage 1: the images are kept for the run, and comply with the rules about images.
struct Prepared {
    parent: ImageMetadata,
    /// The size above the base. It estimates what will be copied; each file is checked against the free space again.
    expected: u64,
}

/// Stage 2: the sealed content is in the spool; opened results are in the working directory, if there is one.
struct Read {
    train: ReadTrain,
    working_dir: Option<DirectoryWriter>,
    /// The source's container is removed in the background, before the response.
    removal: PendingRemoval,
}

/// Stage 3: the train is verified, its session is bound and its new keys are pinned.
struct Checked {
    train: VerifiedTrain,
    working_dir: Option<DirectoryWriter>,
    warnings: Vec<String>,
    _removal: PendingRemoval,
}

/// Stage 4: the plaintext is written, and has no name yet.
struct Written {
    train: VerifiedTrain,
    image_id: ImageId,
    warnings: Vec<String>,
    _removal: PendingRemoval,
}

impl Opening<'_> {
    /// Runs all stages. Returns the outcome and the query's bytes.
    pub(super) fn open(
        &self,
        files: Box<dyn ImageFiles>,
        train: AdmittedTrain,
    ) -> Result<(PreRunRecord, Option<Vec<u8>>), StepError> {
        let prepared = self.prepare(train.rules())?;
        let train = self.unwrap(train)?;
        let read = self.read(files, train, prepared.expected)?;
        let checked = self.verify(read)?;
        let written = self.materialise(checked, &prepared.parent)?;
        self.commit(written)
    }

    fn prepare(&self, rules: &RuleLog) -> Result<Prepared, StepError> {
        let Self { station, run, step, .. } = self;
        let images = &station.images;
        images.tag(&run.source_image, &private_name(station, PinnedImage::Sealed, run)?)?;
        failpoint::point("pre-run/keeping");
        images.tag(&run.base_image, &private_name(station, PinnedImage::Base, run)?)?;
        failpoint::point("pre-run/kept");
        let (parent, base) = (images.metadata(&run.source_image)?, images.metadata(&run.base_image)?);
        if parent.hides_train() || base.hides_train() {
            return Err(StepError::rule(Rule::NoVolumes, ""));
        }
        rules.checked(Rule::NoVolumes);
        base_check::check_history(station, &base)?;
        validate_image::enforce_master_image(station, &run.source_image, rules, step)?;
        step.end_phase("keep");
        Ok(Prepared { expected: parent.size.saturating_sub(base.size), parent })
    }

    fn unwrap(&self, train: AdmittedTrain) -> Result<UnwrappedTrain, StepError> {
        let train = train.unwrap_key(self.station, self.step)?;
        failpoint::point("pre-run/unwrapped");
        self.step.end_phase("token");
        Ok(train)
    }

    fn read(&self, files: Box<dyn ImageFiles>, train: UnwrappedTrain, expected: u64) -> Result<Read, StepError> {
        let Self { station, run, step, .. } = self;
        let mut working_dir = match run.opened_into {
            OpenInto::Directory => Some(working_copy::directory(station, run.id)?.create(expected, station.spool_reserve)?),
            OpenInto::Image | OpenInto::Volume => None,
        };
        failpoint::point("pre-run/landing");
        // If results are opened into a directory, the spool holds little more than the code.
        let spooled = if working_dir.is_some() { 0 } else { expected };
        let spool = Spool::create(&station.spool_directory, spooled, station.spool_reserve)?;
        let train = train.read(&*files, Destination { spool, working_dir: working_dir.as_mut(), expected }, step)?;
        failpoint::point("pre-run/read");
        let removal = files.remove_in_background();
        step.end_phase("read");
        Ok(Read { train, working_dir, removal })
    }

    fn verify(&self, read: Read) -> Result<Checked, StepError> {
        let Self { station, run, step, .. } = self;
        opt_allow_list::check(station, &run.base_image, read.train.contents(), read.train.rules(), step)?;
        let train = read.train.verify(&station.policy, step);
        step.end_phase("verify");
        let train = train?;
        // From here on the session is bound to what the train states now.
        train.bind_session(station)?;
        let warnings = train.admitted().first_seen().pin(station, step)?;
        failpoint::point("pre-run/verified");
        Ok(Checked { train, warnings, working_dir: read.working_dir, _removal: read.removal })
    }

    fn materialise(&self, checked: Checked, parent: &ImageMetadata) -> Result<Written, StepError> {
        let Self { station, run, step, .. } = self;
        let Checked { train, mut warnings, working_dir, _removal } = checked;
        let writer = PlaintextWriter { station, run, train: &train, step };
        // Runs in parallel with the writing, which waits for the engine.
        let image_id = std::thread::scope(|scope| {
            let base = scope.spawn(|| base_check::check_code(station, run, &train, step));
            let written = match working_dir {
                Some(directory) => writer.directory(directory, &mut warnings),
                None if run.opened_into == OpenInto::Volume => writer.volumes(),
                None => writer.image(parent, &mut warnings),
            };
            base.join().unwrap_or(Err(StepError::Invariant("the look at the base broke off")))?;
            written
        })?;
        self.note_unlisted(&train);
        failpoint::point("pre-run/loaded");
        step.end_phase("write");
        Ok(Written { train, image_id, warnings, _removal })
    }

    fn commit(&self, written: Written) -> Result<(PreRunRecord, Option<Vec<u8>>), StepError> {
        let Self { station, order, run, step } = self;
        let query = written.train.query.as_ref().map(|query| query.to_vec());
        let record = self.record_of(&written);
        station.ledger.record_pre_run(run.id, &record, &written.train.files)?;
        failpoint::point("pre-run/recorded");
        if station.image_id(&ImageSource::Name(order.image.clone()))? != run.source_image {
            return Err(StepError::ImageChanged);
        }
        step.check_cancelled()?;
        if run.opened_into == OpenInto::Image {
            station.images.tag(&written.image_id, &order.image)?;
        }
        failpoint::point("pre-run/tagged");
        station.ledger.advance(run.id, RunState::Opening, RunState::Prepared)?;
        failpoint::point("pre-run/prepared");
        step.end_phase("name");
        Ok((record, query))
    }

    fn record_of(&self, written: &Written) -> PreRunRecord {
        let Written { train, image_id, .. } = written;
        let is_first = train.admitted().stop().own.is_first();
        let report = train.admitted().rules().report();
        PreRunRecord {
            image_id: image_id.clone(),
            has_query: train.query.is_some(),
            dropped_files: train.unlisted_files().into(),
            immutable_digest: const_hex::encode(train.immutable_digest.as_bytes()),
            results_digest: train.results_digest.as_ref().map(|digest| const_hex::encode(digest.as_bytes())),
            result_files: Some(if is_first { 0 } else { train.contents.results.files.len() as u64 }),
            warnings: self.warnings_of(written, &report),
            rules: RuleNote::of(&report),
        }
    }

    /// Notes the rule about immutable files that are not listed: none of them was written.
    fn note_unlisted(&self, train: &VerifiedTrain) {
        let (rules, is_enforced) = (train.admitted().rules(), self.station.enforces(Rule::UnlistedFiles));
        rules.enforced(Rule::UnlistedFiles, is_enforced);
        match train.unlisted_files().len() {
            count if count > 0 && is_enforced => rules.explain(Rule::UnlistedFiles, format!("{count} were left out")),
            _ => {}
        }
    }

    fn warnings_of(&self, written: &Written, report: &Report) -> Vec<String> {
        let train = &written.train;
        let mut warnings = written.warnings.clone();
        warnings.extend(rule_report::warnings(self.station, report));
        match train.unlisted_files().len() {
            0 => {}
            count => {
                warnings.push(format!("{count} files under pht_train are not in file_list: they are not signed and were dropped"))
            }
        }
        if train.admitted().stop().own.is_first() && !train.contents.results.files.is_empty() {
            warnings
                .push("the train came to its first stop with files in pht_results: they are not signed and were dropped".into());
        }
        warnings
    }
}
