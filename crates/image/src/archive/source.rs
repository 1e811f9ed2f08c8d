//! Image inputs outside an engine: an archive, or an OCI layout directory.

use std::{io::Read, path::Path};

use stationmaster_system::files::input;

use super::{
    foreign_directory,
    layout_dir::{ImageSelector, Layout},
    reader::{SavedImage, read_saved},
    stored_image::StoredImage,
};
use crate::archive::layer_sink::LayerSink;

/// An image that is read once, layer by layer.
pub enum ImageInput<'a> {
    /// An archive of `docker save` (either layout) or an OCI archive, as a stream, and the name that selects one of several images.
    Stream(Box<dyn Read + 'a>, Option<String>),
    /// An image in files.
    Stored(StoredImage),
}

impl<'a> ImageInput<'a> {
    /// Returns an archive as input.
    pub fn archive(archive: impl Read + 'a) -> Self {
        Self::Stream(Box::new(archive), None)
    }
}

impl ImageInput<'_> {
    /// Opens a user-supplied input: a file is an archive, and a directory is an OCI layout, with `:TAG` one of its images.
    ///
    /// # Errors
    /// When the input cannot be opened.
    pub fn at(text: &str) -> std::io::Result<ImageInput<'static>> {
        match layout_at(text)? {
            Some(layout) => Ok(ImageInput::Stored(StoredImage::Layout(layout))),
            None => Ok(ImageInput::archive(input::open(Path::new(text))?)),
        }
    }

    /// Selects the image of this name, if there are several.
    #[must_use]
    pub fn choose(self, image: Option<&str>) -> Self {
        match self {
            Self::Stream(archive, which) => Self::Stream(archive, image.map(str::to_owned).or(which)),
            Self::Stored(stored) => Self::Stored(stored.choose(image)),
        }
    }

    /// Reads the image, as [`read_saved`].
    pub fn read<S: LayerSink>(
        self,
        expected: Option<&[String]>,
        sink: &mut S,
        progress: impl FnMut(u64),
    ) -> Result<SavedImage, S::Error> {
        match self {
            Self::Stream(archive, image) => read_saved(archive, (image.as_deref(), expected), sink, progress),
            Self::Stored(stored) => stored.read(expected, sink, progress),
        }
    }
}

/// Returns the directory of a user-supplied path, with or without a tag.
fn tagged_directory(text: &str) -> &Path {
    let whole = Path::new(text);
    match text.rsplit_once(':') {
        Some((directory, _)) if !whole.is_dir() => Path::new(directory),
        _ => whole,
    }
}

/// Opens a user-supplied layout: a directory, with `:TAG` one of its images.
///
/// # Errors
/// When the path is a directory and not a layout.
pub fn layout_at(text: &str) -> std::io::Result<Option<Layout>> {
    let layout = |directory: &str, which| Path::new(directory).is_dir().then(|| Layout::at(Path::new(directory), which));
    let tagged = || text.rsplit_once(':').and_then(|(directory, tag)| layout(directory, ImageSelector::Named(tag.to_owned())));
    match layout(text, ImageSelector::Only).or_else(tagged).transpose()? {
        Some(layout) if layout.is_one() => Ok(Some(layout)),
        Some(_) => {
            let directory = tagged_directory(text);
            Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, foreign_directory::describe(directory)))
        }
        None => Ok(None),
    }
}
