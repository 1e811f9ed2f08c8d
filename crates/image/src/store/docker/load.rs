//! Builds an image in the engine: its parent's configuration and layers, and one more layer.
//!
//! The engine receives an archive with the new configuration and only the new layer (it has the others). An engine that
//! does not accept it receives the whole image ([`super::full_load`]). The new image has no name. Its id is known, and announced
//! to the caller, before the engine can create it. It is read back and verified before it is used.

use std::io::Write;

use serde_json::json;
use stationmaster_train::digest::Sha256Digest;
use tar::EntryType;

use super::{
    Engine, EngineWriter, PartialLoad,
    full_load::{Copied, copy_archive},
};
use crate::{
    ImageError,
    oci::{
        image_config::{ImageMetadata, rfc3339},
        reference::ImageId,
    },
    store::{
        ImageStore,
        recipe::{BuiltImage, ImageSpec, LayerSource, WriteError},
    },
    tar::{
        entry::FileAttrs,
        header_writer::header_blocks,
        layer_writer::{HashingWriter, output_error},
    },
};

/// Warning to the caller if the engine accepts whole images only.
const SLOWER: &str = "the engine takes no partial archives: the whole image was sent";

/// Writes an image: an archive with only the new layer, or the whole image if the engine refuses that.
pub(super) fn build(engine: &Engine, spec: &ImageSpec<'_>, source: &mut dyn LayerSource) -> Result<BuiltImage, WriteError> {
    let mut write = |is_full| Load { engine, spec, source: &mut *source, is_full, layer: None }.run();
    let partial = engine.partial_load();
    let refused = match partial {
        PartialLoad::Try => match write(false)? {
            Ok(id) => return Ok(BuiltImage { id, warning: None }),
            Err(refused) => Some(refused),
        },
        PartialLoad::Refused | PartialLoad::Never => None,
    };
    let written = write(true).and_then(|written| Ok(written?));
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
    Ok(BuiltImage { id: written?, warning: (partial != PartialLoad::Never).then_some(SLOWER) })
}

/// Writes an image in one of the two ways.
struct Load<'a> {
    engine: &'a Engine,
    spec: &'a ImageSpec<'a>,
    source: &'a mut dyn LayerSource,
    /// Whether the parent's layers are sent, too.
    is_full: bool,
    /// The new layer's digest once the engine has the layer.
    layer: Option<Sha256Digest>,
}

/// Outcome of an archive that was sent to the end.
enum Attempt {
    /// The image is as intended.
    Exact(ImageId),
    /// The image has another history than its parent.
    OtherHistory(ImageId),
    /// The engine refused the archive, or created another image than intended.
    Refused(ImageError),
}

impl Load<'_> {
    /// Returns the image's id, or the engine's refusal of this way.
    fn run(mut self) -> Result<Result<ImageId, ImageError>, WriteError> {
        // An image with a wrong history is kept until the right one exists, because it alone holds the new layer.
        let mut wrong: Vec<ImageId> = Vec::new();
        let candidates = self.spec.parent.empty_layer_candidates();
        let tried = candidates.iter().map(|empty| Some(empty.as_slice())).chain(candidates.is_empty().then_some(None));
        for empty in tried {
            let given_up = match self.attempt(empty) {
                Ok(Attempt::Exact(id)) => {
                    for id in wrong {
                        self.engine.remove(&id)?;
                    }
                    return Ok(Ok(id));
                }
                Ok(Attempt::OtherHistory(id)) => {
                    wrong.push(id);
                    continue;
                }
                Ok(Attempt::Refused(error)) => Ok(Err(error)),
                Err(error) => Err(error),
            };
            // Announced before, but not last: the caller no longer knows them.
            self.give_up(wrong);
            return given_up;
        }
        let chosen = wrong.swap_remove(0);
        tracing::warn!(image = %chosen, "the parent's history could not be carried over exactly");
        (self.spec.announce)(&chosen)?;
        for id in wrong {
            self.engine.remove(&id)?;
        }
        Ok(Ok(chosen))
    }

    /// Writes the image with one guess at its history.
    fn attempt(&mut self, empty: Option<&[bool]>) -> Result<Attempt, WriteError> {
        let (mut writer, loaded) = self.engine.load(self.spec.cancel)?;
        let (id, layer) = match self.send(&mut writer, empty) {
            Ok(sent) => sent,
            Err(error) => return refusal(error).map(Attempt::Refused),
        };
        let parent = self.spec.parent;
        let error = match writer.finish().and_then(|()| verify_loaded(self.engine, parent, &id, &layer)) {
            Ok(true) => return Ok(Attempt::Exact(id)),
            Ok(false) => return Ok(Attempt::OtherHistory(id)),
            Err(error) => error,
        };
        let error = refusal(error.into())?;
        // The engine created unintended images, which may be plaintext under an unannounced id. The next way may recreate the
        // announced one.
        let made = loaded.ids().into_iter().filter(|made| *made != id && *made != parent.id);
        self.give_up(made.chain([id.clone()]));
        Ok(Attempt::Refused(error))
    }

    /// Sends the archive. Returns the id that the image will have, which was announced, and its layer's digest.
    fn send(&mut self, writer: &mut EngineWriter, empty: Option<&[bool]>) -> Result<(ImageId, Sha256Digest), WriteError> {
        // The first entry's name is generated here, because engines guess a compression from it. Names are unique to an archive:
        // containerd reuses leftovers of an interrupted archive with the same name, and refuses two at once.
        let folder = format!("stationmaster-{}", uuid::Uuid::new_v4().simple());
        let first = header_blocks(&format!("{folder}/"), EntryType::Directory, FileAttrs::directory(0), 0);
        writer.write_all(&first).map_err(output_error)?;
        let mut below = None;
        if self.is_full {
            let saved = self.engine.save(&self.spec.parent.id, self.spec.cancel)?;
            below = Some(copy_archive(saved, self.spec.parent, &folder, writer).map_err(|error| match error {
                // The engine's reader uses this error for paths of containers.
                ImageError::PathMissing => ImageError::NotFound,
                other => other,
            })?);
            self.layer = None;
        }
        let layer = match self.layer.take() {
            Some(layer) => layer,
            None => self.write_layer(writer, &folder)?,
        };
        let layer = *self.layer.insert(layer);
        let (id, files) = self.documents(&folder, below.as_ref(), &layer, empty);
        (self.spec.announce)(&id)?;
        write_end(writer, &files).map_err(output_error)?;
        Ok((id, layer))
    }

    /// Sends the layer and returns its digest.
    fn write_layer(&mut self, writer: &mut EngineWriter, folder: &str) -> Result<Sha256Digest, WriteError> {
        let name = format!("{folder}/layer.tar");
        let start = header_blocks(&name, EntryType::Regular, FileAttrs::immutable_file(0), self.source.size());
        writer.write_all(&start).map_err(output_error)?;
        let mut layer = HashingWriter::new(writer);
        // A layer is a whole number of blocks, so it needs no padding.
        self.source.write(&mut layer)?;
        Ok(layer.finish())
    }

    /// Returns the image's id, and the files that make the image.
    fn documents(
        &self,
        folder: &str,
        below: Option<&Copied>,
        layer: &Sha256Digest,
        empty: Option<&[bool]>,
    ) -> (ImageId, Vec<(String, Vec<u8>)>) {
        let ImageSpec { parent, created, instruction, .. } = self.spec;
        let config = parent.child_config(layer, empty, &rfc3339(*created), instruction);
        let config_id = Sha256Digest::of(&config);
        let name = format!("{folder}/{}.json", config_id.to_hex());
        let mut layers = match below {
            Some(below) => below.layers.clone(),
            // The engine searches for these files only if it lacks the layers, which it does not.
            None => (0..parent.layers.len()).map(|i| format!("{folder}/present-{i}.tar")).collect(),
        };
        layers.push(format!("{folder}/layer.tar"));
        let manifest = json!([{ "Config": name, "RepoTags": null, "Layers": layers }]).to_string();
        let oci = below.and_then(|below| below.oci((config_id, config.len() as u64), (*layer, self.source.size())));
        let mut files = vec![(name, config), ("manifest.json".to_owned(), manifest.into_bytes())];
        let id = match oci {
            None => config_id.into(),
            Some(oci) => {
                files.push((format!("{folder}/oci-manifest.json"), oci.manifest));
                files.push(("index.json".to_owned(), oci.index));
                files.push(("oci-layout".to_owned(), oci.layout));
                oci.id
            }
        };
        (id, files)
    }

    /// Removes images that are not used.
    fn give_up(&self, images: impl IntoIterator<Item = ImageId>) {
        for id in images {
            if let Err(error) = self.engine.remove(&id) {
                tracing::warn!(image = %id, %error, "an image that was given up could not be removed");
            }
        }
    }
}

/// Returns the engine's refusal of an archive, or of the resulting image. For any other error, another archive would not help.
fn refusal(error: WriteError) -> Result<ImageError, WriteError> {
    match error {
        WriteError::Image(refused @ (ImageError::Engine { .. } | ImageError::EngineRefused { .. } | ImageError::NotFound)) => {
            Ok(refused)
        }
        other => Err(other),
    }
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
fn verify_loaded(engine: &Engine, parent: &ImageMetadata, id: &ImageId, layer: &Sha256Digest) -> Result<bool, ImageError> {
    let image = engine.metadata(id).map_err(|error| match error {
        // The engine reported success.
        ImageError::NotFound => ImageError::Engine { call: "load image", detail: "the image is not there afterwards".into() },
        other => other,
    })?;
    let layers_match = image.descends_from(&parent.layers) && image.layers[parent.layers.len()..] == [layer.to_string()];
    if image.id != *id || !layers_match {
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
