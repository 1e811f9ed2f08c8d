//! The archive of an image, wherever it comes from: its layers entry by entry as they stream, and what they are at the end.
//!
//! It may be of `docker save`, in the layout of old engines or of new ones, or an OCI archive (OCI image-layout.md): all are files by name. Order means
//! nothing, so which layer is which shows only at the end. [`layout`] reads the same files out of a directory.

mod blocks;
mod document;
mod hashed;
mod inflate;
mod inflating;
mod layer;
pub mod layout;
mod meaning;
mod overlay;
mod spelling;

use std::{collections::HashMap, io::Read};

use tar::EntryType;

use self::{
    document::{Document, Documents},
    layer::{Blob, Content},
};
pub use super::entries::Entry;
use super::{ImageError, entries::Entries, tape::Tape};

pub(super) use document::parse;
pub(super) use meaning::ways;
pub(super) use overlay::{Change, Node, OfOpt, lay, plain_path};

/// A layer that nobody brought.
const MISSING: &str = "a layer that its manifest names is missing";
/// Most entries of the archive itself: an image has at most some hundred layers, each with a few files.
const FILE_LIMIT: usize = 10_000;

/// Takes the entries of layers, in the archive's order, which need not be the layers'.
pub trait LayerSink {
    /// The sink's error.
    type Error: From<ImageError>;

    /// A layer begins: its name in the archive, and where in the archive its file does; `None` when it is compressed.
    fn layer(&mut self, _name: &str, _position: Option<u64>) -> Result<(), Self::Error> {
        Ok(())
    }

    /// An entry of the layer that has this name in the archive. Content that is not read is skipped.
    fn entry(&mut self, layer: &str, entry: &Entry, content: &mut dyn Read) -> Result<(), Self::Error>;
}

/// What an archive's files said of the image.
#[derive(Debug)]
pub struct SavedImage {
    /// The layers' names in the archive, lowest first. The same name may stand twice.
    pub layers: Vec<String>,
    /// Digests of the layers' uncompressed archives (`sha256:…`), lowest first.
    pub diff_ids: Vec<String>,
    /// The image's configuration (OCI config.md), where it is there.
    pub config: Option<Vec<u8>>,
    /// Whether it is in the layout of engines before 25: `LAYER/layer.tar`.
    pub is_old_layout: bool,
}

impl SavedImage {
    /// The image's id as most engines have it: its configuration's digest.
    #[must_use]
    pub fn id(&self) -> Option<String> {
        self.config.as_ref().map(|config| document::sha256(config))
    }
}

/// Reads an archive of one image, file by file.
#[derive(Default)]
pub(super) struct SavedReader {
    /// Layers that were read.
    layers: HashMap<String, Blob>,
    /// Old engines write a layer that occurs twice as a link to its first place.
    links: HashMap<String, String>,
    documents: Documents,
    files: usize,
}

/// Reads a whole archive, as [`SavedReader::finish`] says of `expected`. `progress` is told the bytes read so far.
pub fn read_saved<S: LayerSink>(
    archive: impl Read,
    expected: Option<&[String]>,
    sink: &mut S,
    mut progress: impl FnMut(u64),
) -> Result<SavedImage, S::Error> {
    let mut tape = Tape::new(archive);
    let mut entries = Entries::new(&mut tape);
    let (mut reader, mut read) = (SavedReader::default(), 0);
    while let Some(entry) = entries.next()? {
        reader.take(&entry, &mut entries, sink)?;
        read += entry.size;
        progress(read);
    }
    tape.check_end()?;
    Ok(reader.finish(expected)?)
}

impl SavedReader {
    /// Reads one entry of the archive.
    pub fn take<S: LayerSink>(&mut self, entry: &Entry, content: &mut dyn Read, sink: &mut S) -> Result<(), S::Error> {
        let name = std::str::from_utf8(&entry.path).map_err(|_| ImageError::Malformed("a name that is not UTF-8"))?;
        match entry.kind {
            EntryType::Regular => self.take_file(name.trim_start_matches("./"), (entry.size, entry.position), content, sink)?,
            EntryType::Symlink => {
                let target = String::from_utf8_lossy(&entry.link).trim_start_matches("../").to_owned();
                self.links.insert(name.to_owned(), target);
            }
            _ => {}
        }
        self.count()
    }

    /// Reads one file: of so many bytes, from there on in the archive.
    pub fn take_file<S: LayerSink>(
        &mut self,
        name: &str,
        (size, position): (u64, u64),
        content: impl Read,
        sink: &mut S,
    ) -> Result<(), S::Error> {
        // Docker before 25, OCI, and what skopeo and Podman write.
        let is_blob =
            name.ends_with("/layer.tar") || name.starts_with("blobs/") || (name.ends_with(".tar") && !name.contains('/'));
        if is_blob {
            if self.layers.contains_key(name) {
                return Err(ImageError::of_file("a layer is there twice", name).into());
            }
            match layer::read(name, (size, position), content, sink)? {
                Content::Layer(blob) => drop(self.layers.insert(name.to_owned(), blob)),
                Content::Document(bytes) => self.documents.keep(name, bytes)?,
                Content::Other => {}
            }
            return Ok(());
        }
        if Document::is_one(name) {
            let bytes = document::read(size, content)?;
            self.documents.keep(name, bytes)?;
        }
        Ok(())
    }

    fn count<E: From<ImageError>>(&mut self) -> Result<(), E> {
        self.files += 1;
        if self.files > FILE_LIMIT { Err(ImageError::Limit("entries of an image archive").into()) } else { Ok(()) }
    }

    /// Ends the archive. Layers must be what the names and the configuration say they are, and, with `expected`, those: digests of
    /// their uncompressed archives (`sha256:…`), lowest first.
    pub fn finish(self, expected: Option<&[String]>) -> Result<SavedImage, ImageError> {
        let described = self.documents.describe()?;
        let place = |name: &String| {
            let name = if self.layers.contains_key(name) { name } else { self.links.get(name).unwrap_or(name) };
            let blob = self.layers.get(name).ok_or_else(|| ImageError::of_file(MISSING, name))?;
            if document::digest_of_name(name).is_some_and(|stated| stated != blob.digest) {
                return Err(ImageError::of_file("a layer's digest is not the one in its name", name));
            }
            Ok((name.clone(), blob.diff_id.clone()))
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
