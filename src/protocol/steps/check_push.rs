//! Push check: decides whether an image may leave the station. Uses no key and changes nothing.

use stationmaster_image::{
    ImageError,
    checks::push_scan::{LayerScan, SuspectFile, compare_with_base, others, scan_layers},
    oci::{
        image_config::ImageMetadata,
        reference::{ImageId, ImageSource},
    },
};
use stationmaster_train::{
    proof::NameSample,
    rule::{Outcome, Report, Rule},
};

use crate::{
    ledger::{OpenInto, Run, RunId},
    protocol::{
        admission::{authorize::authorize_any_image, station::Station},
        context::{call_context::CallContext, error::StepError},
    },
};

/// Maximum number of findings that are returned.
const FINDINGS: usize = 1000;

/// A file in a layer that must not leave the station.
pub struct PushFinding {
    /// Position of the layer in the image, from 0, lowest first.
    pub layer: usize,
    /// The layer's digest.
    pub layer_digest: String,
    /// The suspect file.
    pub suspect: SuspectFile,
}

/// Result of the check whether an image may leave the station.
pub struct PushVerdict {
    /// The engine's image id.
    pub image_id: ImageId,
    /// Number of layers of the image.
    pub layers: usize,
    /// Number of these that belong to the base.
    pub base_layers: usize,
    /// The run whose plaintext image this is.
    pub run_id: Option<RunId>,
    /// The outcome of each rule that applies.
    pub report: Report,
    /// The findings against it, at most 1000.
    pub findings: Vec<PushFinding>,
}

/// Checks every layer of an image.
pub fn check_push(station: &Station, image: &ImageSource, step: &CallContext<'_>) -> Result<PushVerdict, StepError> {
    let image_id = station.image_id(image)?;
    authorize_any_image(station, &image_id, step)?;
    step.annotate(|entry| entry.images.get_or_insert_default().input = Some(image_id.to_string()));
    let facts = station.images.metadata(&image_id)?;
    let mut verdict = PushVerdict {
        image_id,
        layers: facts.layers.len(),
        base_layers: 0,
        run_id: None,
        report: Report::default(),
        findings: Vec::new(),
    };
    if let Some((run, why)) = plaintext_of(station, image, &facts)? {
        let note = format!("{why} of run {}, which is {}", run.id, run.state.as_str());
        verdict.report.note(Rule::NoPlaintextLayers, Outcome::Broken, note);
        verdict.run_id = Some(run.id);
        return Ok(verdict);
    }
    let base = base_of(station, image, &facts.id)?;
    let place = station.images.input(&facts.id, &step.cancel)?;
    let report = |read| (step.progress)("read", read, facts.size);
    let mut layers = scan_layers(place, Some(&facts.layers), report, &|| step.check_reading())?;
    if let Some(base) = &base {
        let same = facts.layers.iter().zip(&base.layers).take_while(|(layer, below)| layer == below);
        verdict.base_layers = same.count();
        compare_with_base(&mut layers, verdict.base_layers);
    }
    classify_entry(&mut verdict, &facts, layers, base.is_some());
    Ok(verdict)
}

/// Returns the run whose plaintext an image is known to hold, and the relation of the image to it.
fn plaintext_of(station: &Station, image: &ImageSource, facts: &ImageMetadata) -> Result<Option<(Run, &'static str)>, StepError> {
    if let Some(run) = station.ledger.of_plaintext_image(&facts.id)? {
        let what =
            if run.opened_image.as_ref() == Some(&facts.id) { "it is the opened image" } else { "it holds the plain results" };
        return Ok(Some((run, what)));
    }
    for run in station.ledger.open_runs()?.into_iter().filter(|run| run.opened_into == OpenInto::Image) {
        let sealed = [Some(&run.source_image), run.sealed_image.as_ref()].contains(&Some(&facts.id));
        if !sealed && run.image == image.to_string() {
            return Ok(Some((run, "its name stands for the opened train")));
        }
        let Some(opened) = &run.opened_image else { continue };
        match station.images.metadata(opened) {
            Ok(opened) if facts.descends_from(&opened.layers) => return Ok(Some((run, "it was made from the opened image"))),
            Ok(_) | Err(ImageError::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Returns the train's base, if the engine has it. Neither the image itself nor one with a run's plaintext counts as base,
/// whatever its name.
fn base_of(station: &Station, image: &ImageSource, image_id: &ImageId) -> Result<Option<ImageMetadata>, StepError> {
    let ImageSource::Name(name) = image else { return Ok(None) };
    let Some(id) = station.images.find(&ImageSource::Name(name.with_tag("base")))? else { return Ok(None) };
    if id == *image_id || station.ledger.of_plaintext_image(&id)?.is_some() {
        return Ok(None);
    }
    Ok(Some(station.images.metadata(&id)?))
}

fn classify_entry(verdict: &mut PushVerdict, facts: &ImageMetadata, layers: Vec<LayerScan>, has_base: bool) {
    let base_layers = verdict.base_layers;
    let of_base: u64 = layers[..base_layers].iter().map(|layer| layer.suspect_count).sum();
    let too_short: u64 = layers[base_layers..].iter().map(|layer| layer.too_short).sum();
    let own = layers.len() - base_layers;
    let mut notes = vec![format!(
        "{own} {} read; {base_layers} more {} the base's",
        if own == 1 { "layer was" } else { "layers were" },
        if base_layers == 1 { "is" } else { "are" }
    )];
    if of_base > 0 {
        notes.push(format!("{of_base} entries of the base's do not look sealed, and were there when it came"));
    }
    if too_short > 0 {
        notes.push(format!("{too_short} files are too short to tell but by their length"));
    }
    if !has_base {
        notes.push("without the train's base here nothing outside /opt could be judged".to_owned());
    }
    verdict.report.note(Rule::NoPlaintextLayers, Outcome::Checked, notes.join("; "));
    verdict.report.checked(&[Rule::NoLinks]);
    match others(&layers) {
        count if count > 0 && !has_base => {
            let note = format!("{count} other entries of /opt, and the train's base is not here to compare them with");
            verdict.report.note(Rule::OptAllowList, Outcome::NotCheckable, note);
        }
        _ => verdict.report.checked(&[Rule::OptAllowList]),
    }
    for rule in [Rule::NoPlaintextLayers, Rule::NoLinks, Rule::OptAllowList] {
        let mut names = NameSample::default();
        for suspect in layers[base_layers..].iter().flat_map(|layer| &layer.suspects).filter(|suspect| suspect.rule == rule) {
            names.add(&suspect.path);
        }
        if !names.is_empty() {
            verdict.report.note(rule, Outcome::Broken, names.reported("entry", "entries"));
        }
    }
    for (at, layer) in layers.into_iter().enumerate().skip(base_layers) {
        for suspect in layer.suspects {
            if verdict.findings.len() < FINDINGS {
                verdict.findings.push(PushFinding { layer: at, layer_digest: facts.layers[at].clone(), suspect });
            }
        }
    }
}
