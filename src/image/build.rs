//! Making an image: its parent's configuration and layers, and one layer more.
//!
//! The engine is sent an archive that holds the new configuration and only the new layer (it has the others). The new image
//! has no name; its id is known, and told to the caller, before the engine can make it. It is read back before it is believed.

use std::io::Write;

use serde_json::json;
use tar::EntryType;
use tokio_util::sync::CancellationToken;

use super::{
    ImageError,
    docker::{Engine, EngineWriter},
    history::{ImageFacts, rfc3339},
    layer::{HashingWriter, LayerPlan, Meta, WriteError, header_blocks, write_archive},
};
use crate::train::digest::FileHasher;

/// Folder of the archive that the engine loads. The first entry's name is ours: engines guess a compression from it.
const FOLDER: &str = "stationmaster";

/// What a new image is made from.
pub struct Recipe<'a, T> {
    /// The image below.
    pub parent: &'a ImageFacts,
    /// The new layer.
    pub plan: &'a LayerPlan<T>,
    /// The new layer's entry in the history.
    pub instruction: &'a str,
    /// Seconds since 1970.
    pub created: i64,
}

/// Writes an image and answers its id.
///
/// `content` hands a file's bytes to its second argument. `announce` is told the id before the engine is given what makes the
/// image: after it returns, and only then, an image of that id may exist.
pub fn build<T, E: From<ImageError>>(
    engine: &Engine,
    recipe: &Recipe<'_, T>,
    cancel: &CancellationToken,
    mut content: impl FnMut(&T, &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E>,
    announce: impl Fn(&str) -> Result<(), E>,
) -> Result<String, E> {
    let mut writer = engine.load(cancel)?;
    let layer = write_layer(&mut writer, recipe.plan, &mut content)?;
    let candidates = recipe.parent.empty_layer_candidates();
    let mut tried = candidates.iter().map(|empty| Some(empty.as_slice())).chain(candidates.is_empty().then_some(None));
    // An image with another history stays until the right one is there: it alone holds the new layer.
    let mut wrong: Vec<String> = Vec::new();
    let chosen = loop {
        let Some(empty) = tried.next() else {
            let id = wrong.swap_remove(0);
            tracing::warn!(image = %id, "the parent's history could not be carried over exactly");
            announce(&id)?;
            break id;
        };
        let (id, config) = configuration(recipe, &layer, empty);
        announce(&id)?;
        write_end(&mut writer, recipe, &id, &config).map_err(|e| writer.explain(e))?;
        writer.finish()?;
        if read_back(engine, recipe.parent, &id, &layer)? {
            break id;
        }
        wrong.push(id);
        writer = engine.load(cancel)?;
    };
    for id in wrong {
        engine.remove_image(&id)?;
    }
    Ok(chosen)
}

fn configuration<T>(recipe: &Recipe<'_, T>, layer: &str, empty: Option<&[bool]>) -> (String, Vec<u8>) {
    let config = recipe.parent.child_config(layer, empty, &rfc3339(recipe.created), recipe.instruction);
    let mut hasher = FileHasher::new();
    hasher.update(&config);
    (format!("sha256:{}", const_hex::encode(hasher.finish())), config)
}

/// Sends the layer; answers its digest, `sha256:…`.
fn write_layer<T, E: From<ImageError>>(
    writer: &mut EngineWriter,
    plan: &LayerPlan<T>,
    content: &mut impl FnMut(&T, &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E>,
) -> Result<String, E> {
    let meta = Meta::directory(0);
    let mut start = header_blocks(&format!("{FOLDER}/"), EntryType::Directory, meta, 0);
    start.extend(header_blocks(&format!("{FOLDER}/layer.tar"), EntryType::Regular, Meta::immutable_file(0), plan.len()));
    writer.write_all(&start).map_err(|e| writer.explain(e))?;
    let mut layer = HashingWriter::new(writer);
    // A layer is a whole number of blocks: nothing to pad.
    let written = write_archive(&mut layer, plan, content);
    let digest = layer.finish();
    match written {
        Ok(()) => Ok(format!("sha256:{}", const_hex::encode(digest))),
        Err(WriteError::Out(error)) => Err(writer.explain(error).into()),
        Err(WriteError::Content(error)) => Err(error),
    }
}

/// Sends the configuration and the manifest, which make the image.
fn write_end<T>(writer: &mut EngineWriter, recipe: &Recipe<'_, T>, id: &str, config: &[u8]) -> std::io::Result<()> {
    let name = format!("{FOLDER}/{}.json", id.trim_start_matches("sha256:"));
    // The engine looks for these only if it lacks the layer, which it does not.
    let mut layers: Vec<String> = (0..recipe.parent.layers.len()).map(|i| format!("{FOLDER}/present-{i}.tar")).collect();
    layers.push(format!("{FOLDER}/layer.tar"));
    let manifest = json!([{ "Config": name, "RepoTags": null, "Layers": layers }]).to_string();
    for (name, bytes) in [(name.as_str(), config), ("manifest.json", manifest.as_bytes())] {
        writer.write_all(&header_blocks(name, EntryType::Regular, Meta::immutable_file(0), bytes.len() as u64))?;
        writer.write_all(bytes)?;
        writer.write_all(&vec![0; bytes.len().next_multiple_of(512) - bytes.len()])?;
    }
    writer.write_all(&[0; 1024])
}

/// Whether the new image is what was meant: the layers are checked by digest (an error when they differ), the history by value.
fn read_back(engine: &Engine, parent: &ImageFacts, id: &str, layer: &str) -> Result<bool, ImageError> {
    let image = engine.facts(id)?;
    let layers_match = image.descends_from(&parent.layers) && image.layers[parent.layers.len()..] == [layer];
    if image.id != id || !layers_match {
        return Err(ImageError::Engine {
            call: "load image",
            detail: "the image read back is not the one that was written".into(),
        });
    }
    if image.config != parent.config {
        return Err(ImageError::Engine { call: "load image", detail: "the image's configuration was not carried over".into() });
    }
    Ok(parent.history.is_empty() || image.history.starts_with(&parent.history))
}
