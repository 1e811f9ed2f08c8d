//! Pre-run: verifies a train and opens it under its own name.

mod open;
mod replay;
mod write_plaintext;

use stationmaster_image::{
    oci::reference::{ImageId, ImageName, ImageSource},
    store::ImageFiles,
};
use stationmaster_system::failpoint;
use stationmaster_train::route::StopIndex;

use self::{open::Opening, replay::replay_answer};
use super::{
    recover,
    runs::conflict_error,
    working_copy::{self, Mount},
};
use crate::{
    audit::ImageIds,
    ledger::{NewRun, OpenInto, PreRunRecord, Run, RunId, RunState},
    protocol::{
        admission::{
            admit::{AdmittedTrain, StopOnRoute},
            authorize::AuthorizedTrain,
            station::Station,
            trust_check::{TrustCheck, TrustPhase},
        },
        checks::rule_report,
        content::train_document::TrainDocument,
        context::{call_context::CallContext, error::StepError},
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

/// A call of pre-run, and what is known before the image is read.
struct PreRunCall<'a> {
    station: &'a Station,
    order: &'a PreRunOrder,
    step: &'a CallContext<'a>,
    trusted: TrustSnapshot,
    /// The id of the image that the name refers to.
    source_id: ImageId,
}

/// The run of a call: begun by it, or by an earlier one.
enum Begun {
    New(Run),
    Earlier(Run),
}

/// Verifies and opens a train; the contract is documented at the proto's `PreRun`.
pub fn pre_run(station: &Station, order: &PreRunOrder, step: &CallContext<'_>) -> Result<PreRunAnswer, StepError> {
    let call = PreRunCall::new(station, order, step)?;
    if let Some(run) = call.earlier_run()? {
        return replay_answer(&call, run);
    }
    let files = station.images.files(&call.source_id)?;
    failpoint::point("pre-run/container");
    step.end_phase("container");
    let train = call.admit(&*files)?;
    let base_id = call.find_base()?;
    let _claim = station.claim(&train.document().session_id)?;
    match call.begin(&train, base_id)? {
        Begun::Earlier(run) => replay_answer(&call, run),
        Begun::New(run) => {
            step.authorize_run(&run)?;
            failpoint::point("pre-run/intent");
            step.end_phase("intent");
            call.open(run, files, train)
        }
    }
}

impl<'a> PreRunCall<'a> {
    fn new(station: &'a Station, order: &'a PreRunOrder, step: &'a CallContext<'a>) -> Result<Self, StepError> {
        match order.into {
            OpenInto::Directory if station.shared_directory.is_none() => return Err(StepError::NoSharedDirectory),
            OpenInto::Volume => drop(working_copy::containers(station)?),
            _ => {}
        }
        let trusted = station.trusted_keys()?;
        let source_id = station.image_id(&ImageSource::Name(order.image.clone()))?;
        step.annotate(|entry| {
            entry.images =
                Some(ImageIds { name: Some(order.image.to_string()), input: Some(source_id.to_string()), output: None });
        });
        Ok(Self { station, order, step, trusted, source_id })
    }

    /// Returns the run that has opened this image, or that the call's idempotency key names.
    fn earlier_run(&self) -> Result<Option<Run>, StepError> {
        let ledger = &self.station.ledger;
        if let Some(run) = ledger.of_opened_image(&self.source_id)? {
            return Ok(Some(run));
        }
        match &self.order.idempotency_key {
            Some(key) => Ok(ledger.of_idempotency_key(&self.station.id, self.step.caller.principal(), key)?),
            None => Ok(None),
        }
    }

    /// Authorises and admits the train in the image.
    fn admit(&self, files: &dyn ImageFiles) -> Result<AdmittedTrain, StepError> {
        let Self { station, step, .. } = self;
        let train = AuthorizedTrain::authorize_image(files, step)?;
        step.end_phase("config");
        let stop = self.stop_to_run(train.document())?;
        if let Some(run) = station.ledger.finished(&station.id, &train.document().session_id, stop.index())? {
            return Err(conflict_error(run, step));
        }
        train.admit(station, stop, TrustCheck { trusted: &self.trusted, phase: TrustPhase::BeforeRun }, step)
    }

    /// Returns this station's stop. Of a train that was opened here before, the run is a more specific reason than the route.
    fn stop_to_run(&self, document: &TrainDocument) -> Result<StopOnRoute, StepError> {
        let station = self.station;
        match StopOnRoute::to_run(&document.config, &station.id) {
            Ok(stop) => Ok(stop),
            Err(error) => {
                let run = station.ledger.of_session(&station.id, &document.session_id)?;
                Err(run.map_or(error.into(), |run| conflict_error(run, self.step)))
            }
        }
    }

    fn find_base(&self) -> Result<ImageId, StepError> {
        let base = self.order.image.with_tag("base");
        let found = self.station.images.find(&ImageSource::Name(base.clone()))?;
        found.ok_or_else(|| StepError::BaseMissing(base.to_string()))
    }

    /// Writes the intent to the ledger. The call holds the claim on the train's session.
    fn begin(&self, train: &AdmittedTrain, base_id: ImageId) -> Result<Begun, StepError> {
        let ledger = &self.station.ledger;
        let new = self.new_run(train, base_id)?;
        match ledger.begin(&new)? {
            Ok(run) => Ok(Begun::New(run)),
            Err(holder) if holder.state == RunState::Opening => {
                // No other call works on the run: it was interrupted, and its roll-back too.
                recover::recover_run(self.station, &holder)?;
                ledger.begin(&new)?.map(Begun::New).map_err(|holder| conflict_error(holder, self.step))
            }
            Err(holder) => Ok(Begun::Earlier(holder)),
        }
    }

    fn new_run(&self, train: &AdmittedTrain, base_id: ImageId) -> Result<NewRun, StepError> {
        let Self { station, order, step, source_id, .. } = self;
        let TrainDocument { config, session_id, bytes } = train.document();
        let stop_index = train.stop().index();
        let derived = || derived_key(&station.id, source_id, session_id, stop_index);
        Ok(NewRun {
            id: RunId::generate(),
            station: station.id.clone(),
            train_id: config.id.clone(),
            session_id: session_id.clone(),
            stop_index,
            principal: step.caller.principal().to_owned(),
            idempotency_key: order.idempotency_key.clone().unwrap_or_else(derived),
            opened_into: order.into,
            image: order.image.to_string(),
            source_image: source_id.clone(),
            base_image: base_id,
            key_label: train.key().key().label().to_owned(),
            config: bytes.clone(),
        })
    }

    /// Opens the train; undoes everything if that fails.
    fn open(&self, run: Run, files: Box<dyn ImageFiles>, train: AdmittedTrain) -> Result<PreRunAnswer, StepError> {
        let Self { station, order, step, .. } = self;
        match (Opening { station, order, run: &run, step }).open(files, train) {
            Ok((record, query)) => {
                let mounts = working_copy::mounts(station, &run)?;
                step.end_phase("clean");
                step.log_phases("pre-run", run.id, "done");
                annotate_outcome(&record, step);
                Ok(PreRunAnswer { run: Run { state: RunState::Prepared, ..run }, record, query, mounts, repeated: false })
            }
            Err(error) => {
                step.log_phases("pre-run", run.id, "not done");
                if let Err(second) = recover::roll_back_opening(station, run.id, &error.to_string()) {
                    recover::note_recovery_failure(station, run.id, &second);
                }
                Err(error)
            }
        }
    }
}

/// Notes the outcome for the record of the step.
fn annotate_outcome(record: &PreRunRecord, step: &CallContext<'_>) {
    step.annotate(|entry| {
        entry.images.get_or_insert_default().output = Some(record.image_id.to_string());
        let digests = entry.digests.get_or_insert_default();
        digests.immutable = Some(record.immutable_digest.clone());
        digests.results_in.clone_from(&record.results_digest);
        entry.rules = rule_report::recorded(&record.rules);
    });
}

/// Derives the idempotency key of a call without one from the properties that identify the call.
fn derived_key(station: &str, image_id: &ImageId, session_id: &[u8], stop: StopIndex) -> String {
    format!("derived/{station}/{image_id}/{}/{stop}/pre-run", const_hex::encode(session_id))
}
