//! Image validation: checks whether an image is a master that this station allows, plus only a train. Uses no key and changes
//! nothing.
//!
//! The station's trust file lists the allowed masters; the train has no influence on them. A master is resolved to an image id
//! once, and from then on only digests count.

use serde_json::{Map, Value};
use stationmaster_image::{
    ImageError,
    archive::{reader::SavedImage, source::ImageInput},
    checks::master::{
        Differences, ImageRule, Seen, TrainLibVerdict, compare_configs, compare_platforms, compare_trees, describe, seen,
    },
    oci::{
        image_config::ImageMetadata,
        reference::{ImageId, ImageSource},
    },
};
use stationmaster_train::rule::{Outcome, Rule};

use crate::protocol::{
    admission::{authorize::authorize_any_image, station::Station},
    context::{call_context::CallContext, error::StepError, rule_log::RuleLog},
};

/// Result of the validation of an image.
pub struct ImageVerdict {
    /// The image's id.
    pub image_id: Option<ImageId>,
    /// The master as named in the trust file, or the place it came from.
    pub master: String,
    /// The master's image id.
    pub master_id: Option<ImageId>,
    /// Number of layers of the image.
    pub layers: usize,
    /// Number of these that the master has too.
    pub shared: usize,
    /// Number of layers of the master.
    pub master_layers: usize,
    /// The outcome of each rule, with a note.
    pub rules: Vec<(ImageRule, Outcome, String)>,
    /// The differences.
    pub differences: Differences,
    /// The verdict of train_lib, if it was requested.
    pub train_lib: Option<TrainLibVerdict>,
}

impl ImageVerdict {
    /// Whether no rule is broken.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.rules.iter().all(|(_, outcome, _)| *outcome != Outcome::Broken)
    }
}

/// Validates an image of the engine against an allowed master: the one named, or the one with the most layers in common.
pub fn validate_image(
    station: &Station,
    image: &ImageSource,
    master: Option<&str>,
    as_train_lib: bool,
    step: &CallContext<'_>,
) -> Result<ImageVerdict, StepError> {
    let image_id = station.image_id(image)?;
    authorize_any_image(station, &image_id, step)?;
    step.annotate(|entry| entry.images.get_or_insert_default().input = Some(image_id.to_string()));
    compare_with_master(station, &image_id, master, as_train_lib, step)
}

/// Refuses a train whose image matches no allowed master, if the configuration demands it.
pub(in crate::protocol) fn enforce_master_image(
    station: &Station,
    image_id: &ImageId,
    rules: &RuleLog,
    step: &CallContext<'_>,
) -> Result<(), StepError> {
    if !station.enforces(Rule::MasterImage) {
        rules.relaxed(Rule::MasterImage);
        return Ok(());
    }
    let verdict = compare_with_master(station, image_id, None, false, step)?;
    let Some((rule, _, note)) = verdict.rules.iter().find(|(_, outcome, _)| *outcome == Outcome::Broken) else {
        rules.checked(Rule::MasterImage);
        return Ok(());
    };
    let first =
        verdict.differences.kept.first().map_or(String::new(), |one| format!(" ({} {})", one.what, one.place.escape_ascii()));
    Err(StepError::rule(Rule::MasterImage, format!("{}: {note}{first}", rule.name())))
}

fn compare_with_master(
    station: &Station,
    image_id: &ImageId,
    master: Option<&str>,
    as_train_lib: bool,
    step: &CallContext<'_>,
) -> Result<ImageVerdict, StepError> {
    let image = station.images.metadata(image_id)?;
    let (name, master) = resolve(station, master, &image)?;
    let shared = shared(&master.layers, &image.layers);
    let save = |facts: &ImageMetadata| station.images.input(&facts.id, &step.cancel);
    let on_master = shared == master.layers.len();
    // Compared first: there are few fields, and only some of very many differences are kept.
    let mut differences = Differences::default();
    compare_configs(&master.config, &image.config, &mut differences);
    compare_platforms(&master.platform, &image.platform, &mut differences);
    let mut sees = Seen::default();
    if on_master || as_train_lib {
        let progress = |read| (step.progress)("validate", read, image.size);
        let found = compare_trees(save(&image)?, Some(&image.layers), |_| shared, as_train_lib.then_some(&mut sees), progress)?;
        if on_master {
            differences.append(found.0);
        }
    }
    let train_lib = match as_train_lib {
        false => None,
        true => {
            let masters = seen(save(&master)?, Some(&master.layers))?;
            Some(Seen::verdict((&master.history, &masters), (&image.history, &sees)))
        }
    };
    let newer = match (master.history.last(), image.history.last()) {
        (Some(master), Some(image)) if master.created > image.created => "; the master is newer than the image",
        _ => "",
    };
    Ok(ImageVerdict {
        image_id: Some(image.id),
        master: name,
        master_id: Some(master.id),
        layers: image.layers.len(),
        shared,
        master_layers: master.layers.len(),
        rules: rules(on_master, shared, master.layers.len(), newer, &differences),
        differences,
        train_lib,
    })
}

/// Returns an allowed master that exists here. Of several, it prefers the one with the most layers in common, complete masters
/// before partial ones.
fn resolve(station: &Station, wanted: Option<&str>, image: &ImageMetadata) -> Result<(String, ImageMetadata), StepError> {
    let trusted = station.trusted_keys()?;
    let named = |reference: &str, repository: &str| wanted.is_none_or(|wanted| wanted == reference || wanted == repository);
    let unknown = |what| StepError::MasterUnknown { what, wanted: wanted.map(str::to_owned) };
    let allowed: Vec<_> =
        trusted.configured().masters().iter().filter(|master| named(&master.reference(), &master.repository)).collect();
    if allowed.is_empty() {
        return Err(unknown("this station's trust file allows no such master"));
    }
    let mut best: Option<((bool, usize), String, ImageMetadata)> = None;
    for master in allowed {
        for (id, digests) in station.images.images_of(&master.repository)? {
            let reference = master.reference();
            let is_it = master.digest.is_none_or(|digest| id == digest.into() || digests.contains(&reference));
            if !is_it {
                continue;
            }
            let facts = match station.images.metadata(&id) {
                Err(ImageError::NotFound) => continue,
                other => other?,
            };
            let count = shared(&facts.layers, &image.layers);
            let rank = (count == facts.layers.len(), count);
            if best.as_ref().is_none_or(|(known, ..)| rank > *known) {
                best = Some((rank, reference, facts));
            }
        }
    }
    best.map(|(_, name, facts)| (name, facts)).ok_or_else(|| unknown("no image of an allowed master is here"))
}

/// Returns the number of layers that two images have in common, from the lowest.
fn shared(master: &[String], image: &[String]) -> usize {
    master.iter().zip(image).take_while(|(one, other)| one == other).count()
}

fn rules(on_master: bool, shared: usize, of: usize, newer: &str, differences: &Differences) -> Vec<(ImageRule, Outcome, String)> {
    let judged = |rule: ImageRule| match (rule, on_master, differences.breaking(rule)) {
        (ImageRule::LayersOfMaster, true, _) => (rule, Outcome::Checked, format!("all {of} of the master's layers, by digest")),
        (ImageRule::LayersOfMaster, false, _) => {
            (rule, Outcome::Broken, format!("only {shared} of the master's {of} layers are below{newer}"))
        }
        (ImageRule::FileTree, false, _) => {
            (rule, Outcome::NotCheckable, "the image was not made on this master: there is nothing to compare with".to_owned())
        }
        (_, _, 0) => (rule, Outcome::Checked, String::new()),
        (_, _, count) => (rule, Outcome::Broken, format!("{count} differences")),
    };
    ImageRule::ALL.map(judged).into()
}

/// The image that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// The image to validate.
    Image,
    /// The master.
    Master,
}

/// As [`validate_image`], without engine and policy: validates an image against a master that the caller provides.
///
/// # Errors
/// When either cannot be read.
pub fn validate_places(image: ImageInput<'_>, master: ImageInput<'_>, name: &str) -> Result<ImageVerdict, (Operand, ImageError)> {
    let of_image = |error| (Operand::Image, error);
    let master = describe(master).and_then(|master| described(&master)).map_err(|error| (Operand::Master, error))?;
    let mut found = 0;
    let (of_tree, image) = compare_trees(
        image,
        None,
        |image| {
            found = shared(&master.layers, &image.diff_ids);
            found
        },
        None,
        |_| {},
    )
    .map_err(of_image)?;
    let image = described(&image).map_err(of_image)?;
    let on_master = found == master.layers.len();
    let mut differences = Differences::default();
    compare_configs(&master.config, &image.config, &mut differences);
    compare_platforms(&master.platform, &image.platform, &mut differences);
    if on_master {
        differences.append(of_tree);
    }
    Ok(ImageVerdict {
        image_id: image.id,
        master: name.to_owned(),
        master_id: master.id,
        layers: image.layers.len(),
        shared: found,
        master_layers: master.layers.len(),
        rules: rules(on_master, found, master.layers.len(), "", &differences),
        differences,
        train_lib: None,
    })
}

struct Described {
    id: Option<ImageId>,
    layers: Vec<String>,
    config: Map<String, Value>,
    /// The whole file, which contains the platform among other fields.
    platform: Map<String, Value>,
}

fn described(image: &SavedImage) -> Result<Described, ImageError> {
    let bytes = image.config.as_ref().ok_or(ImageError::Malformed("the image's configuration is not there"))?;
    let platform: Map<String, Value> = serde_json::from_slice(bytes).map_err(|_| ImageError::Malformed("its configuration"))?;
    let config = platform.get("config").and_then(Value::as_object).cloned().unwrap_or_default();
    Ok(Described { id: image.id(), layers: image.diff_ids.clone(), config, platform })
}
