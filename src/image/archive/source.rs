//! Where an image can be besides the engine: an archive, or an OCI layout directory.

use std::{io::Read, path::Path};

use super::{
    layout_dir::{Layout, Which},
    reader::{LayerSink, SavedImage, read_saved},
};
use crate::{files::input, image::foreign_directory};

/// An image to be read once.
pub enum ImageInput<'a> {
    /// An archive of `docker save` (either layout), or an OCI archive; where it holds several images, the one of that name.
    Archive(Box<dyn Read + 'a>, Option<String>),
    /// An OCI layout directory.
    Layout(Layout),
}

impl<'a> ImageInput<'a> {
    /// An archive.
    pub fn archive(archive: impl Read + 'a) -> Self {
        Self::Archive(Box::new(archive), None)
    }
}

impl ImageInput<'_> {
    /// Finds what a person names: `-` is an archive from standard input, a file is an archive, a directory an OCI layout, with `:TAG` one of its images.
    ///
    /// # Errors
    /// When nothing can be read there.
    pub fn of(text: &str) -> std::io::Result<ImageInput<'static>> {
        if text == "-" {
            return Ok(ImageInput::archive(std::io::stdin().lock()));
        }
        match layout_at(text)? {
            Some(layout) => Ok(ImageInput::Layout(layout)),
            None => Ok(ImageInput::archive(input::open(Path::new(text))?)),
        }
    }

    /// The image of this name, where several lie there.
    #[must_use]
    pub fn choose(mut self, image: Option<&str>) -> Self {
        let Some(image) = image else { return self };
        match &mut self {
            Self::Archive(_, which) => *which = Some(image.to_owned()),
            Self::Layout(layout) => layout.which = Which::Named(image.to_owned()),
        }
        self
    }

    /// Reads the image, as [`read_saved`].
    pub fn read<S: LayerSink>(
        self,
        expected: Option<&[String]>,
        sink: &mut S,
        progress: impl FnMut(u64),
    ) -> Result<SavedImage, S::Error> {
        match self {
            Self::Archive(archive, image) => read_saved(archive, (image.as_deref(), expected), sink, progress),
            Self::Layout(layout) => layout.read(sink, progress),
        }
    }
}

/// The directory of what a person names: with a tag, or without.
fn tagged_directory(text: &str) -> &Path {
    let whole = Path::new(text);
    match text.rsplit_once(':') {
        Some((directory, _)) if !whole.is_dir() => Path::new(directory),
        _ => whole,
    }
}

/// The layout that a person names: a directory, with `:TAG` one of its images.
///
/// # Errors
/// When it is a directory and no layout.
pub fn layout_at(text: &str) -> std::io::Result<Option<Layout>> {
    let layout = |directory: &str, which| Path::new(directory).is_dir().then(|| Layout::at(Path::new(directory), which));
    let tagged = || text.rsplit_once(':').and_then(|(directory, tag)| layout(directory, Which::Named(tag.to_owned())));
    match layout(text, Which::Only).or_else(tagged).transpose()? {
        Some(layout) if layout.is_one() => Ok(Some(layout)),
        Some(_) => {
            let directory = tagged_directory(text);
            Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, foreign_directory::told(directory)))
        }
        None => Ok(None),
    }
}
