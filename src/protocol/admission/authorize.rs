//! Authorisation: refuses a train that no grant of the caller covers, before anything about it is revealed.

use stationmaster_image::oci::reference::ImageId;
use stationmaster_image::store::ImageFiles;
use stationmaster_train::rule::Rule;

use super::station::Station;
use crate::{
    ledger::Run,
    protocol::{
        content::train_document::TrainDocument,
        context::{call_context::CallContext, error::StepError, rule_log::RuleLog},
    },
};

/// A train that a grant of the caller covers. Nothing in it is verified yet.
///
/// Its keys are not checked, so there is no key to unwrap:
///
/// ```compile_fail,E0599
/// use stationmaster::protocol::{AuthorizedTrain, CallContext, Station};
///
/// fn unwrap_early(train: AuthorizedTrain, station: &Station, call: &CallContext<'_>) {
///     let _ = train.unwrap_key(station, call);
/// }
/// ```
///
/// ```
/// use stationmaster::protocol::{AdmittedTrain, CallContext, Station, StepError, UnwrappedTrain};
///
/// fn unwrap(train: AdmittedTrain, station: &Station, call: &CallContext<'_>) -> Result<UnwrappedTrain, StepError> {
///     train.unwrap_key(station, call)
/// }
/// ```
///
/// It is made by authorisation only:
///
/// ```compile_fail,E0451
/// use stationmaster::protocol::AuthorizedTrain;
///
/// fn with_another_config(train: AuthorizedTrain, other: AuthorizedTrain) -> AuthorizedTrain {
///     AuthorizedTrain { document: other.document, ..train }
/// }
/// ```
pub struct AuthorizedTrain {
    document: TrainDocument,
    rules: RuleLog,
}

impl AuthorizedTrain {
    /// Reads the config of the train in an image, and refuses a train that no grant of the caller covers.
    ///
    /// # Errors
    /// That of the config, or the refusal. A caller whose grants name trains does not learn that an image has no train.
    pub fn authorize_image(files: &dyn ImageFiles, step: &CallContext<'_>) -> Result<Self, StepError> {
        let document = match TrainDocument::read(files, &step.cancel) {
            Err(error @ StepError::NotATrain) => return Err(step.authorize_absence(error)),
            other => other?,
        };
        let rules = RuleLog::default();
        rules.checked(Rule::StrictConfig);
        step.authorize_train(&document.config.id, &document.session_id, None)?;
        Ok(Self { document, rules })
    }

    /// Refuses the train of a run that no grant of the caller covers. The config is the one that pre-run opened.
    ///
    /// # Errors
    /// The refusal.
    pub fn authorize_run(run: &Run, step: &CallContext<'_>) -> Result<Self, StepError> {
        step.authorize_run(run)?;
        let document = TrainDocument::of_run(run)?;
        let rules = RuleLog::default();
        rules.checked(Rule::ConfigOfPreRun);
        Ok(Self { document, rules })
    }

    /// Returns the train's config, of which nothing is verified.
    pub(in crate::protocol) fn document(&self) -> &TrainDocument {
        &self.document
    }

    /// Returns the rules that were checked so far.
    pub(in crate::protocol) fn rules(&self) -> &RuleLog {
        &self.rules
    }

    /// Returns the config, and the rules that were checked so far.
    pub(super) fn into_parts(self) -> (TrainDocument, RuleLog) {
        (self.document, self.rules)
    }

    /// Returns the train's config, for a step that uses no key.
    pub(in crate::protocol) fn into_document(self) -> TrainDocument {
        self.document
    }
}

/// Refuses an image to a caller whose grants name trains, unless they cover the train in it.
pub(in crate::protocol) fn authorize_any_image(
    station: &Station,
    image_id: &ImageId,
    step: &CallContext<'_>,
) -> Result<(), StepError> {
    if step.caller.may_have_any_train().is_err() {
        AuthorizedTrain::authorize_image(&*station.images.files(image_id)?, step)?;
    }
    Ok(())
}
