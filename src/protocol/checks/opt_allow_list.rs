//! Checks the entries directly below `/opt` outside the train: an opened train would bring them into the run without any
//! signature.

use std::collections::BTreeSet;

use stationmaster_image::{
    ImageError,
    oci::reference::ImageId,
    opt::reader::{TrainTreeSink, read_opt},
};
use stationmaster_train::rule::Rule;

use crate::protocol::{
    admission::station::Station,
    content::sealed_contents::Contents,
    context::{call_context::CallContext, error::StepError, rule_log::RuleLog},
};

/// Refuses a train with entries that are neither the protocol's, nor in its base, nor allowed by the configuration. The base is
/// read only if there are such entries.
pub(in crate::protocol) fn check(
    station: &Station,
    base_image: &ImageId,
    contents: &Contents,
    rules: &RuleLog,
    step: &CallContext<'_>,
) -> Result<(), StepError> {
    if !station.enforces(Rule::OptAllowList) {
        rules.relaxed(Rule::OptAllowList);
        return Ok(());
    }
    match unexplained_name(station, base_image, contents, step)? {
        Some(name) => Err(StepError::rule(Rule::OptAllowList, name)),
        None => {
            rules.checked(Rule::OptAllowList);
            Ok(())
        }
    }
}

/// Returns a name that is neither the protocol's, nor in the base, nor allowed by the configuration.
fn unexplained_name(
    station: &Station,
    base_image: &ImageId,
    contents: &Contents,
    step: &CallContext<'_>,
) -> Result<Option<String>, StepError> {
    let is_allowed = |name: &&String| station.policy.opt_allow.contains(name.as_str());
    let mut strange: BTreeSet<&String> = contents.other_names.iter().filter(|name| !is_allowed(name)).collect();
    if strange.is_empty() {
        return Ok(None);
    }
    let files = station.images.files(base_image)?;
    let mut of_base = Names { step, names: BTreeSet::new() };
    match files.read("/opt", &step.cancel).map_err(StepError::from).and_then(|archive| read_opt(archive, &mut of_base)) {
        Ok(_) | Err(StepError::Image(ImageError::PathMissing)) => {}
        Err(error) => return Err(error),
    }
    // Names that are not UTF-8 were replaced in both lists, so equal text does not mean equal names.
    strange.retain(|name| name.contains('\u{fffd}') || !of_base.names.contains(*name));
    Ok(strange.first().map(|name| (*name).clone()))
}

/// Names directly below an image's `/opt`, except the train's two directories.
struct Names<'a> {
    step: &'a CallContext<'a>,
    names: BTreeSet<String>,
}

impl TrainTreeSink for Names<'_> {
    type Error = StepError;

    fn chunk(&mut self, _: &[u8]) -> Result<(), StepError> {
        self.step.check_cancelled()
    }

    fn other(&mut self, path: &str) -> Result<(), StepError> {
        self.step.check_cancelled()?;
        self.names.insert(path.split('/').next().unwrap_or(path).to_owned());
        Ok(())
    }
}
