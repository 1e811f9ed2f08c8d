//! Streaming reader of an image archive: passes on the layers' entries as they stream, and returns the image's description.
//!
//! The archive may be of `docker save`, in the layout of old or new engines, or an OCI archive (OCI image-layout.md): all are
//! sets of named files. Their order has no meaning, so the layers' order is known only at the end.
//! `layout_dir` reads the same files from a directory.

use std::{
    collections::{HashMap, HashSet},
    io::Read,
};

use stationmaster_train::digest::Sha256Digest;
use tar::EntryType;

use super::{
    blob::{Blob, Content},
    layer_sink::LayerSink,
    memory_budget::Share,
};
use crate::{
    ImageError,
    archive::blob,
    oci::{
        documents,
        documents::{Document, Documents},
        reference::ImageId,
    },
    tar::{
        end_check::EndCheckedReader,
        entry::plain_path,
        file_kind,
        reader::{TarEntry, TarReader},
    },
};

/// Error text for a missing layer.
const MISSING: &str = "a layer that its manifest names is missing";
/// Maximum entries of the archive itself: an image has at most some hundred layers, each with a few files.
const ENTRY_LIMIT: usize = 10_000;
const NO_LAYER: &str = "a link that is not a layer's to another layer";

/// Description of an image, read from its archive's files.
#[derive(Debug)]
pub struct SavedImage {
    /// The layers' names in the archive, lowest first. A name may occur twice.
    pub layers: Vec<String>,
    /// Digests of the layers' uncompressed archives (`sha256:…`), lowest first.
    pub diff_ids: Vec<String>,
    /// The image's configuration (OCI config.md), if it exists.
    pub config: Option<Vec<u8>>,
    /// Whether the archive has the layout of engines before 25: `LAYER/layer.tar`.
    pub is_old_layout: bool,
}

impl SavedImage {
    /// Returns the image's id as most engines define it: its configuration's digest.
    #[must_use]
    pub fn id(&self) -> Option<ImageId> {
        self.config.as_ref().map(|config| Sha256Digest::of(config).into())
    }
}

/// Reads an archive of one image, file by file.
#[derive(Default)]
pub(crate) struct SavedReader {
    /// Layers that were read.
    layers: HashMap<String, Blob>,
    /// Old engines write a repeated layer as a link to its first place.
    links: HashMap<String, String>,
    documents: Documents,
    /// Files that look like a layer but cannot be read as one.
    foreign: HashMap<String, ImageError>,
    /// Names of all files and links.
    names: HashSet<String>,
    share: Share,
    /// Number of entries of the archive.
    entries: usize,
    /// Whether a name is that of a whole file system.
    is_file_system: bool,
}

/// Reads a whole archive; `image` and `expected` are those of [`SavedReader::finish`]. `progress` receives the number of bytes
/// read so far.
pub fn read_saved<S: LayerSink>(
    archive: impl Read,
    (image, expected): (Option<&str>, Option<&[String]>),
    sink: &mut S,
    mut progress: impl FnMut(u64),
) -> Result<SavedImage, S::Error> {
    let mut tape = EndCheckedReader::new(archive);
    let mut entries = TarReader::new(&mut tape);
    let (mut reader, mut read) = (SavedReader::default(), 0);
    while let Some(entry) = entries.next()? {
        reader.take(&entry, &mut entries, sink)?;
        read += entry.size;
        progress(read);
    }
    tape.check_end()?;
    Ok(reader.finish(image, expected)?)
}

impl SavedReader {
    /// Reads one entry of the archive.
    pub(crate) fn take<S: LayerSink>(&mut self, entry: &TarEntry, content: &mut dyn Read, sink: &mut S) -> Result<(), S::Error> {
        self.entries += 1;
        if self.entries > ENTRY_LIMIT {
            return Err(ImageError::Limit("entries of an image archive").into());
        }
        // Engines unpack the archive, so every spelling of a path is the same name.
        let Some(path) = plain_path(&entry.path)? else { return Ok(()) };
        self.is_file_system |= file_kind::is_of_file_system(&path);
        let name = String::from_utf8(path).map_err(|_| ImageError::Malformed("a name that is not UTF-8"))?;
        match entry.kind {
            EntryType::Directory => {}
            EntryType::Regular => self.take_file(&name, (entry.size, entry.position), content, sink)?,
            EntryType::Symlink => {
                let target =
                    layer_linked(&name, &entry.link).ok_or_else(|| self.no_image(ImageError::of_file(NO_LAYER, &name)))?;
                self.name(&name)?;
                self.links.insert(name, target);
            }
            _ => return Err(self.no_image(ImageError::of_file("what is neither a file nor a directory", &name)).into()),
        }
        Ok(())
    }

    /// Reads one file of `size` bytes that begins at `position` in the archive.
    pub(crate) fn take_file<S: LayerSink>(
        &mut self,
        name: &str,
        (size, position): (u64, u64),
        content: impl Read,
        sink: &mut S,
    ) -> Result<(), S::Error> {
        self.name(name)?;
        // Docker before 25, OCI, and at the root the form of skopeo, Podman, and builders without an engine.
        let is_at_root = (name.ends_with(".tar") || name.ends_with(".tar.gz")) && !name.contains('/');
        let is_blob = name.ends_with("/layer.tar") || name.starts_with("blobs/") || is_at_root;
        if is_blob {
            match blob::read(name, (size, position), content, sink)? {
                Content::Layer(blob) => drop(self.layers.insert(name.to_owned(), blob)),
                Content::Document(bytes) => self.documents.keep(name, bytes)?,
                Content::Foreign(error) => drop(self.foreign.insert(name.to_owned(), error)),
                Content::Other => {}
            }
            return Ok(());
        }
        if Document::is_one(name) {
            let bytes = documents::read(size, content)?;
            self.documents.keep(name, bytes)?;
        }
        Ok(())
    }

    /// Returns the error for an input that is not an image archive.
    fn no_image(&self, error: ImageError) -> ImageError {
        if self.is_file_system { file_kind::file_system() } else { error }
    }

    fn name(&mut self, name: &str) -> Result<(), ImageError> {
        // The name is also kept as a layer's or a document's name.
        self.share.entry::<(String, Blob)>(3 * name.len())?;
        match self.names.insert(name.to_owned()) {
            true => Ok(()),
            false => Err(ImageError::of_file("a file that is there twice", name)),
        }
    }

    /// Ends the archive and returns the image's description. `image` selects one of several images by name. The layers must match
    /// their names and the configuration and, if given, `expected`: digests of their uncompressed archives (`sha256:…`), lowest
    /// first.
    pub(crate) fn finish(mut self, image: Option<&str>, expected: Option<&[String]>) -> Result<SavedImage, ImageError> {
        let described = self.documents.describe(&self.names, image).map_err(|error| self.no_image(error))?;
        if let Some(error) = described.layers.iter().find_map(|name| self.foreign.remove(name)) {
            return Err(error);
        }
        let place = |name: &String| {
            let name = if self.layers.contains_key(name) { name } else { self.links.get(name).unwrap_or(name) };
            let blob = self.layers.get(name).ok_or_else(|| ImageError::of_file(MISSING, name))?;
            if documents::states_another(name, blob.digest) {
                return Err(ImageError::of_file("a layer's digest is not the one in its name", name));
            }
            Ok((name.clone(), blob.diff_id.to_string()))
        };
        let found: Vec<(String, String)> = described.layers.iter().map(place).collect::<Result<_, ImageError>>()?;
        let (layers, diff_ids): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        if expected.is_some_and(|expected| expected != diff_ids) {
            return Err(ImageError::Malformed("its layers are not those that the engine names"));
        }
        if described.diff_ids.as_ref().is_some_and(|stated| *stated != diff_ids) {
            return Err(ImageError::Malformed("its layers are not those that its configuration names"));
        }
        let is_old_layout = layers.iter().any(|name| name.ends_with("/layer.tar"));
        Ok(SavedImage { layers, diff_ids, config: described.config, is_old_layout })
    }
}

/// Returns the target of a layer's link: `DIRECTORY/layer.tar` to `../OTHER/layer.tar` or `../OTHER.tar`, as old engines and
/// skopeo write it.
fn layer_linked(name: &str, target: &[u8]) -> Option<String> {
    let is_directory = |name: &str| !matches!(name, "" | "." | "..") && !name.contains('/');
    is_directory(name.strip_suffix("/layer.tar")?).then_some(())?;
    let target = std::str::from_utf8(target).ok()?.strip_prefix("../")?;
    let other = target.strip_suffix("/layer.tar").or_else(|| target.strip_suffix(".tar"))?;
    is_directory(other).then(|| target.to_owned())
}

#[cfg(test)]
mod tests;
