//! Storage of a saved image's layers: a layout directory, or an archive in a file.

use std::{
    fs::File,
    io::{Seek, SeekFrom},
    sync::Arc,
};

use super::reader::without_root;
use crate::{
    ImageError,
    archive::{
        layer_sink::LayerSink,
        layout_dir::{Layout, Which},
        reader::{SavedImage, read_saved},
    },
    tar::reader::TarReader,
};

/// Storage of a saved image.
#[derive(Clone)]
pub enum LayerBacking {
    /// In a layout directory.
    Layout(Layout),
    /// In an archive, and the name that selects one of several images.
    Archive(Arc<File>, Option<String>),
}

impl LayerBacking {
    /// Returns the storage of an archive in a file.
    #[must_use]
    pub fn archive(file: File, image: Option<&str>) -> Self {
        Self::Archive(Arc::new(file), image.map(str::to_owned))
    }

    /// Returns the storage of a layout directory.
    #[must_use]
    pub fn layout(mut layout: Layout, image: Option<&str>) -> Self {
        if let Some(image) = image {
            layout.which = Which::Named(image.to_owned());
        }
        Self::Layout(layout)
    }

    /// Returns the archive if it is one of `/opt` and not of an image, as its first entries show.
    pub(crate) fn opt_archive(&self) -> Result<Option<&File>, ImageError> {
        let Self::Archive(file, _) = self else { return Ok(None) };
        let mut start = &**file;
        start.seek(SeekFrom::Start(0)).map_err(ImageError::at("archive"))?;
        let mut entries = TarReader::new(start);
        // The archive's own root does not show its kind.
        let is_opt = loop {
            match entries.next()? {
                Some(entry) if without_root(&entry.path).is_empty() => {}
                Some(entry) => break without_root(&entry.path).split(|byte| *byte == b'/').next() == Some(b"opt"),
                None => break false,
            }
        };
        start.seek(SeekFrom::Start(0)).map_err(ImageError::at("archive"))?;
        Ok(is_opt.then_some(&**file))
    }

    /// Reads the image, layer by layer; every digest is verified.
    pub(crate) fn read<S: LayerSink>(&self, sink: &mut S) -> Result<SavedImage, S::Error> {
        match self {
            Self::Layout(layout) => layout.read(sink, |_| {}),
            Self::Archive(file, image) => {
                let mut file = &**file;
                file.seek(SeekFrom::Start(0)).map_err(ImageError::at("archive"))?;
                read_saved(file, (image.as_deref(), None), sink, |_| {})
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
