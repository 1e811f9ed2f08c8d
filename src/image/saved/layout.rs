//! An OCI layout directory (OCI image-layout.md): only the files that its index leads to are read, each by its digest.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags, open};

use super::{
    LayerSink, SavedImage, SavedReader,
    document::{self, Manifest, blob_name, layer_of, manifest_of, parse},
};
use crate::image::{ImageError, opt::broken};

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

    fn open(&self, name: &str) -> Result<File, ImageError> {
        // A link could lead out, a pipe would never end.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match open(self.directory.join(name), flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => return Err(ImageError::Malformed("a file of the layout is missing")),
            Err(_) => return Err(ImageError::Malformed("a file of the layout cannot be opened, or is a link")),
        };
        if file.metadata().is_ok_and(|meta| meta.is_file()) {
            Ok(file)
        } else {
            Err(ImageError::Malformed("a file of the layout is none"))
        }
    }

    /// Reads the image, as [`super::read_saved`] does an archive.
    pub fn read<S: LayerSink>(&self, sink: &mut S, mut progress: impl FnMut(u64)) -> Result<SavedImage, S::Error> {
        document::read(self.open("oci-layout")?)?;
        let index = document::read(self.open("index.json")?)?;
        let wanted = manifest_of(&index, self.tag.as_deref())?;
        let mut reader = SavedReader::default();
        // The others that the index names are none of this image's business.
        let index = serde_json::json!({ "manifests": [{ "mediaType": wanted.media_type, "digest": wanted.digest }] });
        reader.take_file("index.json", index.to_string().as_bytes(), sink)?;
        let name = blob_name(&wanted.digest)?;
        let bytes = document::read(self.open(&name)?)?;
        let manifest: Manifest = parse(&bytes, "a manifest")?;
        reader.take_file(&name, bytes.as_slice(), sink)?;
        let config = blob_name(&manifest.config.digest)?;
        reader.take_file(&config, self.open(&config)?, sink)?;
        let mut read = 0;
        let mut seen = std::collections::HashSet::new();
        for layer in &manifest.layers {
            let name = layer_of(layer)?;
            if seen.insert(name.clone()) {
                let file = self.open(&name)?;
                read += file.metadata().map_err(broken)?.len();
                reader.take_file(&name, file, sink)?;
                progress(read);
            }
        }
        Ok(reader.finish(None)?)
    }
}
