//! Reader of an OCI layout directory (OCI image-layout.md). Only files referenced from its index are read, each by its digest.

use std::{collections::HashSet, fs::File, io, path::Path, sync::Arc};

use stationmaster_system::files::Directory;
use stationmaster_train::digest::Sha256Digest;

use super::reader::{SavedImage, SavedReader};
use crate::{
    ImageError,
    archive::layer_sink::LayerSink,
    oci::{
        descriptors::{Descriptor, Wanted, blob_name, layer_of, manifest, manifest_of},
        digest, documents,
    },
};

/// An image in a layout directory. The directory is held by descriptor, and no link in it is followed.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The directory, which contains `oci-layout`, `index.json` and `blobs`.
    pub root: Arc<Directory>,
    /// The selected image.
    pub which: ImageSelector,
}

/// Selects one image of a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSelector {
    /// The only one.
    Only,
    /// The image with this `org.opencontainers.image.ref.name`.
    Tag(String),
    /// The image with this user-supplied name: a ref name, the name annotated by containerd, or a digest.
    Named(String),
    /// The image whose manifest has this digest; the index need not contain it.
    Digest(String),
}

impl Layout {
    /// Returns an image in the layout at `directory`.
    ///
    /// # Errors
    /// When the directory cannot be opened.
    pub fn at(directory: &Path, which: ImageSelector) -> io::Result<Self> {
        Ok(Self { root: Arc::new(Directory::open(directory)?), which })
    }

    /// Whether the directory is a layout.
    #[must_use]
    pub fn is_one(&self) -> bool {
        self.root.open_file("oci-layout").is_ok()
    }

    /// Opens a file of the layout and returns its length.
    pub(crate) fn open(&self, name: &str) -> Result<(u64, File), ImageError> {
        let opened = self.root.open_file(name).and_then(|file| Ok((file.metadata()?.len(), file)));
        opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ImageError::of_file("a file of the layout is missing", name),
            io::ErrorKind::InvalidInput => ImageError::of_file("a file of the layout is none", name),
            _ => ImageError::of_file("a file of the layout cannot be opened, or is a link", name),
        })
    }

    pub(crate) fn document(&self, name: &str) -> Result<Vec<u8>, ImageError> {
        let (size, file) = self.open(name)?;
        documents::read(size, file)
    }

    /// Reads a document among the blobs, and verifies its digest.
    pub(crate) fn blob(&self, digest: &str) -> Result<Vec<u8>, ImageError> {
        let digest: Sha256Digest = digest.parse()?;
        let name = digest::file_name(&digest);
        let bytes = self.document(&name)?;
        if Sha256Digest::of(&bytes) == digest { Ok(bytes) } else { Err(ImageError::of_file(documents::WRONG_DIGEST, &name)) }
    }

    /// Whether a blob of that digest exists.
    pub(crate) fn has(&self, digest: &str) -> Result<bool, ImageError> {
        let name = blob_name(digest)?;
        match self.root.has(&name) {
            Ok(has) => Ok(has),
            Err(_) => Err(ImageError::of_file("a file of the layout cannot be opened, or is a link", &name)),
        }
    }

    /// Removes a blob. A missing blob is not an error.
    pub(crate) fn remove(&self, digest: &str) -> Result<(), ImageError> {
        self.root.remove(blob_name(digest)?).map_err(ImageError::at("layouts"))
    }

    /// Returns the descriptor of the image's manifest.
    pub(crate) fn wanted(&self) -> Result<Descriptor, ImageError> {
        let index = || self.document("index.json");
        match &self.which {
            ImageSelector::Only => manifest_of(&index()?, Wanted::Only, |digest| self.blob(digest)),
            ImageSelector::Tag(tag) => manifest_of(&index()?, Wanted::Tag(tag), |digest| self.blob(digest)),
            ImageSelector::Named(name) => manifest_of(&index()?, Wanted::Named(name), |digest| self.blob(digest)),
            ImageSelector::Digest(digest) => Ok(Descriptor::of(digest)),
        }
    }

    /// Reads the image, as [`super::reader::read_saved`] reads an archive.
    pub fn read<S: LayerSink>(&self, sink: &mut S, mut progress: impl FnMut(u64)) -> Result<SavedImage, S::Error> {
        self.document("oci-layout")?;
        let wanted = self.wanted()?;
        let mut reader = SavedReader::default();
        // Other images of the index are irrelevant to this one.
        let index = serde_json::json!({ "manifests": [{ "mediaType": wanted.media_type, "digest": wanted.digest }] }).to_string();
        reader.take_file("index.json", (index.len() as u64, 0), index.as_bytes(), sink)?;
        let name = blob_name(&wanted.digest)?;
        let bytes = self.document(&name)?;
        let manifest = manifest(&wanted, &bytes)?;
        reader.take_file(&name, (bytes.len() as u64, 0), bytes.as_slice(), sink)?;
        let config = blob_name(&manifest.config.digest)?;
        let (size, file) = self.open(&config)?;
        reader.take_file(&config, (size, 0), file, sink)?;
        let mut read = 0;
        let mut seen = HashSet::new();
        for layer in &manifest.layers {
            let name = layer_of(layer)?;
            if seen.insert(name.clone()) {
                let (size, file) = self.open(&name)?;
                read += size;
                reader.take_file(&name, (size, 0), file, sink)?;
                progress(read);
            }
        }
        Ok(reader.finish(None, None)?)
    }
}
