//! Builds an image in the engine: its parent's configuration and layers, and one more layer.
//!
//! The engine receives an archive with the new configuration and only the new layer (it has the others). An engine that
//! does not accept it receives the whole image ([`super::full_load`]). The new image has no name. Its id is known, and announced
//! to the caller, before the engine can create it. It is read back and verified before it is used.

use std::io::Write;

use serde_json::json;
use stationmaster_train::digest::FileHasher;
use tar::EntryType;
use tokio_util::sync::CancellationToken;

use super::{
    Engine, EngineWriter, PartialLoad,
    full_load::{Copied, CopyError, copy_archive},
};
use crate::{
    ImageError,
    oci::image_config::{ImageMetadata, rfc3339},
    tar::{
        entry::FileAttrs,
        header_writer::header_blocks,
        layer_writer::{HashingWriter, LayerPlan, WriteError, write_archive},
    },
};

/// Warning to the caller if the engine accepts whole images only.
const SLOWER: &str = "the engine takes no partial archives: the whole image was sent";

/// Inputs of a new image.
pub struct ImageSpec<'a, T> {
    /// The parent image.
    pub parent: &'a ImageMetadata,
    /// The new layer.
    pub plan: &'a LayerPlan<'a, T>,
    /// The new layer's entry in the history.
    pub instruction: &'a str,
    /// Seconds since 1970.
    pub created: i64,
    /// Whether the new layer holds an opened train.
    pub is_plaintext: bool,
}

/// An image that was written.
#[derive(Debug, PartialEq, Eq)]
pub struct BuiltImage {
    /// Its id.
    pub id: String,
    /// A warning for the caller.
    pub warning: Option<&'static str>,
}

/// Error of writing an image.
enum Failure<E> {
    /// The engine refused the archive, or created another image than intended.
    Refused(ImageError),
    /// Any other error: another archive would not help.
    Other(E),
}

impl<E: From<ImageError>> Failure<E> {
    /// Classifies the error of a call that sent the engine an archive, or read back the resulting image.
    fn of(error: ImageError) -> Self {
        match error {
            ImageError::Engine { .. } | ImageError::EngineRefused { .. } | ImageError::NotFound => Self::Refused(error),
            other => Self::Other(other.into()),
        }
    }

    fn into_inner(self) -> E {
        match self {
            Self::Refused(error) => error.into(),
            Self::Other(error) => error,
        }
    }
}

impl<E: From<ImageError>> From<ImageError> for Failure<E> {
    fn from(error: ImageError) -> Self {
        Self::Other(error.into())
    }
}

/// Writes an image.
///
/// `content` passes a file's bytes to its second argument. It is called again for the same files if the engine refuses partial
/// archives. `announce` receives the id before the engine gets the files that make the image: an image of that id may exist
/// only after it returns. The last announced id is the valid one.
pub fn build<T, E: From<ImageError>>(
    engine: &Engine,
    recipe: &ImageSpec<'_, T>,
    cancel: &CancellationToken,
    mut content: impl FnMut(&T, &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E>,
    announce: impl Fn(&str) -> Result<(), E>,
) -> Result<BuiltImage, E> {
    let mut write = |whole| write(engine, recipe, whole, cancel, &mut content, &announce);
    let partial = engine.partial_load();
    let refused = match partial {
        PartialLoad::Try => match write(false) {
            Ok(id) => return Ok(BuiltImage { id, warning: None }),
            Err(Failure::Refused(error)) => Some(error),
            Err(Failure::Other(error)) => return Err(error),
        },
        PartialLoad::Refused | PartialLoad::Never => None,
    };
    let written = write(true);
    if let Some(words) = refused {
        match &written {
            Ok(_) => {
                engine.partial_load_refused();
                tracing::warn!(%words, "the engine takes no partial archives: whole images are sent from now on, which is slower");
            }
            // The whole archive's error is returned. It alone does not show that a partial archive was refused first.
            Err(_) => tracing::warn!(%words, "an archive with only the new layer was refused, and then the whole image"),
        }
    }
    let id = written.map_err(Failure::into_inner)?;
    Ok(BuiltImage { id, warning: (partial != PartialLoad::Never).then_some(SLOWER) })
}

/// Writes the image in one of the two ways and returns its id.
fn write<T, E: From<ImageError>>(
    engine: &Engine,
    recipe: &ImageSpec<'_, T>,
    whole: bool,
    cancel: &CancellationToken,
    content: &mut impl FnMut(&T, &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E>,
    announce: &impl Fn(&str) -> Result<(), E>,
) -> Result<String, Failure<E>> {
    // An image with a wrong history is kept until the right one exists, because it alone holds the new layer.
    let mut wrong: Vec<String> = Vec::new();
    let mut layer = None;
    let candidates = recipe.parent.empty_layer_candidates();
    let tried = candidates.iter().map(|empty| Some(empty.as_slice())).chain(candidates.is_empty().then_some(None));
    for empty in tried {
        match try_load(engine, recipe, whole, empty, &mut layer, cancel, content, announce) {
            Ok((id, true)) => {
                for id in wrong {
                    engine.remove_image(&id)?;
                }
                return Ok(id);
            }
            Ok((id, false)) => wrong.push(id),
            Err(failure) => {
                // Announced before, but not last: the caller no longer knows them.
                for id in wrong {
                    if let Err(error) = engine.remove_image(&id) {
                        tracing::warn!(image = %id, %error, "an image that was given up could not be removed");
                    }
                }
                return Err(failure);
            }
        }
    }
    let chosen = wrong.swap_remove(0);
    tracing::warn!(image = %chosen, "the parent's history could not be carried over exactly");
    announce(&chosen).map_err(Failure::Other)?;
    for id in wrong {
        engine.remove_image(&id)?;
    }
    Ok(chosen)
}

/// Writes the image with one guess at its history. Returns its id, and whether the guess was right. `layer` is the new layer's
/// digest once the engine has the layer.
#[expect(clippy::too_many_arguments, reason = "what `build` has, and the state of its loop")]
fn try_load<T, E: From<ImageError>>(
    engine: &Engine,
    recipe: &ImageSpec<'_, T>,
    whole: bool,
    empty: Option<&[bool]>,
    layer: &mut Option<String>,
    cancel: &CancellationToken,
    content: &mut impl FnMut(&T, &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E>,
    announce: &impl Fn(&str) -> Result<(), E>,
) -> Result<(String, bool), Failure<E>> {
    let (mut writer, loaded) = engine.load(cancel)?;
    // The first entry's name is generated here, because engines guess a compression from it. Names are unique to an archive:
    // containerd reuses leftovers of an interrupted archive with the same name, and refuses two at once.
    let folder = &format!("stationmaster-{}", uuid::Uuid::new_v4().simple());
    let first = header_blocks(&format!("{folder}/"), EntryType::Directory, FileAttrs::directory(0), 0);
    writer.write_all(&first).map_err(|e| Failure::of(writer.explain(e)))?;
    let mut below = None;
    if whole {
        let saved = engine.save(&recipe.parent.id, cancel)?;
        below = Some(copy_archive(saved, recipe.parent, folder, &mut writer).map_err(|error| match error {
            CopyError::Read(error) => error.into(),
            CopyError::Write(error) => Failure::of(writer.explain(error)),
        })?);
        *layer = None;
    }
    let layer = match layer {
        Some(layer) => layer,
        None => layer.insert(write_layer(&mut writer, folder, recipe.plan, content)?),
    };
    let (config_id, config) = configuration(recipe, layer, empty);
    let (id, files) = write_documents(recipe, folder, below.as_ref(), layer, &config_id, config);
    announce(&id).map_err(Failure::Other)?;
    write_end(&mut writer, &files).map_err(|e| Failure::of(writer.explain(e)))?;
    let read = writer.finish().and_then(|()| verify_loaded(engine, recipe.parent, &id, layer));
    let failure = match read.map_err(Failure::of) {
        Ok(right) => return Ok((id, right)),
        Err(failure) => failure,
    };
    if matches!(failure, Failure::Refused(_)) {
        // The engine created unintended images, which may be plaintext under an unannounced id. The next way may recreate the
        // announced one.
        let made = loaded.ids().into_iter().filter(|made| *made != id && *made != recipe.parent.id);
        for made in made.chain([id.clone()]) {
            if let Err(error) = engine.remove_image(&made) {
                tracing::warn!(image = %made, %error, "an image that was given up could not be removed");
            }
        }
    }
    Err(failure)
}

fn configuration<T>(recipe: &ImageSpec<'_, T>, layer: &str, empty: Option<&[bool]>) -> (String, Vec<u8>) {
    let config = recipe.parent.child_config(layer, empty, &rfc3339(recipe.created), recipe.instruction);
    let mut hasher = FileHasher::new();
    hasher.update(&config);
    (format!("sha256:{}", const_hex::encode(hasher.finish())), config)
}

/// Sends the layer and returns its digest, `sha256:…`.
fn write_layer<T, E: From<ImageError>>(
    writer: &mut EngineWriter,
    folder: &str,
    plan: &LayerPlan<'_, T>,
    content: &mut impl FnMut(&T, &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E>,
) -> Result<String, Failure<E>> {
    let start = header_blocks(&format!("{folder}/layer.tar"), EntryType::Regular, FileAttrs::immutable_file(0), plan.len());
    writer.write_all(&start).map_err(|e| Failure::of(writer.explain(e)))?;
    let mut layer = HashingWriter::new(writer);
    // A layer is a whole number of blocks, so it needs no padding.
    let written = write_archive(&mut layer, plan, content);
    let digest = layer.finish();
    match written {
        Ok(()) => Ok(format!("sha256:{}", const_hex::encode(digest))),
        Err(WriteError::Out(error)) => Err(Failure::of(writer.explain(error))),
        Err(WriteError::Content(error)) => Err(Failure::Other(error)),
    }
}

/// Returns the files that make the image, and its id.
fn write_documents<T>(
    recipe: &ImageSpec<'_, T>,
    folder: &str,
    below: Option<&Copied>,
    layer: &str,
    config_id: &str,
    config: Vec<u8>,
) -> (String, Vec<(String, Vec<u8>)>) {
    let name = format!("{folder}/{}.json", config_id.trim_start_matches("sha256:"));
    let mut layers = match below {
        Some(below) => below.layers.clone(),
        // The engine searches for these files only if it lacks the layers, which it does not.
        None => (0..recipe.parent.layers.len()).map(|i| format!("{folder}/present-{i}.tar")).collect(),
    };
    layers.push(format!("{folder}/layer.tar"));
    let manifest = json!([{ "Config": name, "RepoTags": null, "Layers": layers }]).to_string();
    let oci = below.and_then(|below| below.oci((config_id, config.len() as u64), (layer, recipe.plan.len())));
    let mut files = vec![(name, config), ("manifest.json".to_owned(), manifest.into_bytes())];
    let id = match oci {
        None => config_id.to_owned(),
        Some(oci) => {
            files.push((format!("{folder}/oci-manifest.json"), oci.manifest));
            files.push(("index.json".to_owned(), oci.index));
            files.push(("oci-layout".to_owned(), oci.layout));
            oci.id
        }
    };
    (id, files)
}

/// Sends the last files, and ends the archive.
fn write_end(writer: &mut EngineWriter, files: &[(String, Vec<u8>)]) -> std::io::Result<()> {
    for (name, bytes) in files {
        writer.write_all(&header_blocks(name, EntryType::Regular, FileAttrs::immutable_file(0), bytes.len() as u64))?;
        writer.write_all(bytes)?;
        writer.write_all(&vec![0; bytes.len().next_multiple_of(512) - bytes.len()])?;
    }
    writer.write_all(&[0; 1024])
}

/// Whether the new image is as intended: the layers are compared by digest (an error if they differ), the history by value.
fn verify_loaded(engine: &Engine, parent: &ImageMetadata, id: &str, layer: &str) -> Result<bool, ImageError> {
    let image = engine.facts(id).map_err(|error| match error {
        // The engine reported success.
        ImageError::NotFound => ImageError::Engine { call: "load image", detail: "the image is not there afterwards".into() },
        other => other,
    })?;
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
