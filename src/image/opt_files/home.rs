//! Where the files are that a saved image is made of: in a layout directory, or in an archive that is a file.

use std::{
    fs::File,
    io::{Seek, SeekFrom},
    sync::Arc,
};

use crate::image::{
    ImageError,
    saved::{LayerSink, SavedImage, layout::Layout, read_saved},
};

/// Where a saved image's files are.
#[derive(Clone)]
pub enum Home {
    /// In a layout directory.
    Layout(Layout),
    /// In an archive.
    Archive(Arc<File>),
}

impl Home {
    /// An archive in a file.
    #[must_use]
    pub fn archive(file: File) -> Self {
        Self::Archive(Arc::new(file))
    }

    /// Reads the image, layer by layer; every digest is checked.
    pub(super) fn read<S: LayerSink>(&self, sink: &mut S) -> Result<SavedImage, S::Error> {
        match self {
            Self::Layout(layout) => layout.read(sink, |_| {}),
            Self::Archive(file) => {
                let mut file = &**file;
                file.seek(SeekFrom::Start(0)).map_err(ImageError::Layout)?;
                read_saved(file, None, sink, |_| {})
            }
        }
    }

    /// The file that holds the layer of that name.
    pub(super) fn open(&self, layer: &str) -> Result<Arc<File>, ImageError> {
        match self {
            Self::Layout(layout) => Ok(Arc::new(layout.open(layer)?.1)),
            Self::Archive(file) => Ok(Arc::clone(file)),
        }
    }
}
