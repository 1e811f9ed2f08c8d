//! The files that a saved image is made of, each to be opened by its name: of a layout directory, or of an archive in a file.

use std::{
    collections::HashMap,
    fs::File,
    io::{Seek, SeekFrom},
    sync::Arc,
};

use tar::{Archive, EntryType};

use crate::image::{
    ImageError,
    opt::broken,
    saved::{LayerSink, MISSING, SavedImage, layout::Layout, read_saved},
};

/// Most files of an archive: an image has at most some hundred layers, each with a few.
const FILE_LIMIT: usize = 10_000;

/// Where a saved image's files are.
#[derive(Clone)]
pub enum Home {
    /// In a layout directory.
    Layout(Layout),
    /// In an archive, by name: where each begins.
    Archive(Arc<File>, Arc<HashMap<String, u64>>),
}

impl Home {
    /// An archive in a file. Its headers are read, and its contents passed over.
    pub fn archive(mut file: File) -> Result<Self, ImageError> {
        let mut names = HashMap::new();
        let mut archive = Archive::new(&mut file);
        for entry in archive.entries_with_seek().map_err(broken)? {
            let entry = entry.map_err(broken)?;
            if entry.header().entry_type() != EntryType::Regular {
                continue;
            }
            let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
            names.insert(name, entry.raw_file_position());
            if names.len() > FILE_LIMIT {
                return Err(ImageError::Limit("entries of an image archive"));
            }
        }
        Ok(Self::Archive(Arc::new(file), Arc::new(names)))
    }

    /// Reads the image, layer by layer; every digest is checked.
    pub(super) fn read<S: LayerSink>(&self, sink: &mut S) -> Result<SavedImage, S::Error> {
        match self {
            Self::Layout(layout) => layout.read(sink, |_| {}),
            Self::Archive(file, _) => {
                let mut file = &**file;
                file.seek(SeekFrom::Start(0)).map_err(ImageError::Layout)?;
                read_saved(file, None, sink, |_| {})
            }
        }
    }

    /// A file, and where in it the named one begins.
    pub(super) fn open(&self, name: &str) -> Result<(Arc<File>, u64), ImageError> {
        match self {
            Self::Layout(layout) => Ok((Arc::new(layout.open(name)?.1), 0)),
            Self::Archive(file, names) => {
                let at = names.get(name).ok_or_else(|| ImageError::of_file(MISSING, name))?;
                Ok((Arc::clone(file), *at))
            }
        }
    }
}
