//! An OCI layout directory (OCI image-layout.md): only the files that its index leads to are read, each by its digest.

use std::{
    collections::HashSet,
    fs::File,
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags, open};

use super::{
    LayerSink, SavedImage, SavedReader,
    document::{self, Manifest, blob_name, layer_of, manifest_of, parse},
};
use crate::image::ImageError;

/// An image in a layout directory.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The directory: it holds `oci-layout`, `index.json` and `blobs`.
    pub directory: PathBuf,
    /// `org.opencontainers.image.ref.name` of the image; may be absent where there is one image only.
    pub tag: Option<String>,
}

impl Layout {
    /// Whether a directory is one.
    #[must_use]
    pub fn is_at(directory: &Path) -> bool {
        directory.join("oci-layout").is_file()
    }

    /// A file of it, and its length.
    fn open(&self, name: &str) -> Result<(u64, File), ImageError> {
        // A link could lead out, a pipe would never end.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match open(self.directory.join(name), flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => return Err(ImageError::Malformed("a file of the layout is missing")),
            Err(_) => return Err(ImageError::Malformed("a file of the layout cannot be opened, or is a link")),
        };
        match file.metadata() {
            Ok(meta) if meta.is_file() => Ok((meta.len(), file)),
            _ => Err(ImageError::Malformed("a file of the layout is none")),
        }
    }

    fn document(&self, name: &str) -> Result<Vec<u8>, ImageError> {
        let (size, file) = self.open(name)?;
        document::read(size, file)
    }

    /// Reads the image, as [`super::read_saved`] does an archive.
    pub fn read<S: LayerSink>(&self, sink: &mut S, mut progress: impl FnMut(u64)) -> Result<SavedImage, S::Error> {
        self.document("oci-layout")?;
        let wanted = manifest_of(&self.document("index.json")?, self.tag.as_deref())?;
        let mut reader = SavedReader::default();
        // The others that the index names are none of this image's business.
        let index = serde_json::json!({ "manifests": [{ "mediaType": wanted.media_type, "digest": wanted.digest }] }).to_string();
        reader.take_file("index.json", index.len() as u64, index.as_bytes(), sink)?;
        let name = blob_name(&wanted.digest)?;
        let bytes = self.document(&name)?;
        let manifest: Manifest = parse(&bytes, "a manifest")?;
        reader.take_file(&name, bytes.len() as u64, bytes.as_slice(), sink)?;
        let config = blob_name(&manifest.config.digest)?;
        let (size, file) = self.open(&config)?;
        reader.take_file(&config, size, file, sink)?;
        let mut read = 0;
        let mut seen = HashSet::new();
        for layer in &manifest.layers {
            let name = layer_of(layer)?;
            if seen.insert(name.clone()) {
                let (size, file) = self.open(&name)?;
                read += size;
                reader.take_file(&name, size, file, sink)?;
                progress(read);
            }
        }
        Ok(reader.finish(None)?)
    }
}
