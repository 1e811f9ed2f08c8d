//! An image in files: an archive, or an OCI layout directory. It can be read again, and its layers one by one.

use std::{
    fs::File,
    io::{Seek, SeekFrom},
    sync::Arc,
};

use super::{
    layer_sink::LayerSink,
    layout_dir::{ImageSelector, Layout},
    reader::{SavedImage, read_saved},
};
use crate::ImageError;

/// An image in files.
#[derive(Clone)]
pub enum StoredImage {
    /// In a layout directory.
    Layout(Layout),
    /// In an archive, and the name that selects one of several images.
    Archive(Arc<File>, Option<String>),
}

impl StoredImage {
    /// Returns the only image of an archive.
    #[must_use]
    pub fn archive(file: File) -> Self {
        Self::Archive(Arc::new(file), None)
    }

    /// Selects the image of this name, if there are several.
    #[must_use]
    pub fn choose(mut self, image: Option<&str>) -> Self {
        let Some(image) = image else { return self };
        match &mut self {
            Self::Archive(_, which) => *which = Some(image.to_owned()),
            Self::Layout(layout) => layout.which = ImageSelector::Named(image.to_owned()),
        }
        self
    }

    /// Reads the image layer by layer, as [`read_saved`]; every digest is verified.
    pub(crate) fn read<S: LayerSink>(
        &self,
        expected: Option<&[String]>,
        sink: &mut S,
        progress: impl FnMut(u64),
    ) -> Result<SavedImage, S::Error> {
        match self {
            Self::Layout(layout) => layout.read(sink, progress),
            Self::Archive(file, image) => {
                let mut file = &**file;
                file.seek(SeekFrom::Start(0)).map_err(ImageError::at("archive"))?;
                read_saved(file, (image.as_deref(), expected), sink, progress)
            }
        }
    }

    /// Opens the file that contains the layer of that name.
    pub(crate) fn open(&self, layer: &str) -> Result<Arc<File>, ImageError> {
        match self {
            Self::Layout(layout) => Ok(Arc::new(layout.open(layer)?.1)),
            Self::Archive(file, _) => Ok(Arc::clone(file)),
        }
    }
}
