//! Where a station's images are: in an engine, or in OCI layout directories where there is none.

pub mod docker;
pub mod layouts;

use std::{
    io::{self, Read},
    sync::OnceLock,
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use self::{
    docker::{
        Container, Engine, EngineReader, PendingRemoval,
        load::{self, BuiltImage, ImageSpec},
    },
    layouts::LayoutStore,
};
use super::{
    ImageError,
    archive::source::ImageInput,
    oci::{
        image_config::ImageMetadata,
        reference::{ImageName, ImageSource},
    },
    opt::{
        layered::LayeredTrainTree,
        tar_stream::TarStream,
        uploaded::{SentReader, UploadedTrain},
    },
};

/// The images of a station. Cheap to clone. Its blocking functions must not be called from async code.
#[derive(Clone)]
pub enum ImageStore {
    /// In an engine.
    Engine(Engine),
    /// In OCI layout directories.
    Layouts(LayoutStore),
}

/// Where this process looks for images, in words for those who look for one in vain.
static PLACE: OnceLock<String> = OnceLock::new();

/// Where this process looks for images, once that is known.
pub fn whereabouts() -> Option<&'static str> {
    PLACE.get().map(String::as_str)
}

/// Says where this process looks for images. Only the first says it: a process has one store.
pub fn look_in(place: String) {
    let _ = PLACE.set(place);
}

/// A name of the service's own, which keeps an image while a run needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinnedImage {
    /// The image that arrived.
    Sealed,
    /// The train's base.
    Base,
}

impl ImageStore {
    /// The engine.
    ///
    /// # Errors
    /// [`ImageError::NoEngine`] when the images are not in one.
    pub fn engine(&self) -> Result<&Engine, ImageError> {
        match self {
            Self::Engine(engine) => Ok(engine),
            Self::Layouts(_) => Err(ImageError::NoEngine),
        }
    }

    /// What it is called in the log.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Engine(_) => "engine",
            Self::Layouts(_) => "layouts",
        }
    }

    /// Whether it can be used now.
    ///
    /// # Errors
    /// When the engine does not answer, or the directory cannot be written to.
    pub async fn check(&self) -> Result<(), ImageError> {
        match self {
            Self::Engine(engine) => engine.ping().await,
            Self::Layouts(layouts) => layouts.check(),
        }
    }

    /// The id that a name or id stands for now.
    pub fn resolve(&self, source: &ImageSource) -> Result<String, ImageError> {
        match self {
            Self::Engine(engine) => engine.resolve(source),
            Self::Layouts(layouts) => layouts.resolve(source),
        }
    }

    /// As [`Store::resolve`], with `None` for an image that is not there.
    pub fn find(&self, source: &ImageSource) -> Result<Option<String>, ImageError> {
        match self.resolve(source) {
            Ok(id) => Ok(Some(id)),
            Err(ImageError::NotFound) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// The images of a repository that are here, with or without a tag: their ids and their `repository@sha256:…`.
    pub fn images_of(&self, repository: &str) -> Result<Vec<(String, Vec<String>)>, ImageError> {
        match self {
            Self::Engine(engine) => engine.images_of(repository),
            Self::Layouts(layouts) => layouts.images_of(repository),
        }
    }

    /// What is known of an image without reading its layers.
    pub fn facts(&self, id: &str) -> Result<ImageMetadata, ImageError> {
        match self {
            Self::Engine(engine) => engine.facts(id),
            Self::Layouts(layouts) => layouts.facts(id),
        }
    }

    /// The files of an image, to read.
    pub fn files(&self, id: &str) -> Result<ImageFiles, ImageError> {
        Ok(match self {
            Self::Engine(engine) => ImageFiles::Engine(engine.container(id)?),
            Self::Layouts(layouts) => ImageFiles::Saved(layouts.files(id)?),
        })
    }

    /// The whole image, layer by layer.
    pub fn place(&self, id: &str, cancel: &CancellationToken) -> Result<ImageInput<'static>, ImageError> {
        Ok(match self {
            Self::Engine(engine) => ImageInput::archive(engine.save(id, cancel)?),
            Self::Layouts(layouts) => ImageInput::Layout(layouts.of_id(id)?),
        })
    }

    /// Writes an image, as [`build::build`].
    pub fn build<T, E: From<ImageError>>(
        &self,
        recipe: &ImageSpec<'_, T>,
        cancel: &CancellationToken,
        content: impl FnMut(&T, &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E>,
        announce: impl Fn(&str) -> Result<(), E>,
    ) -> Result<BuiltImage, E> {
        match self {
            Self::Engine(engine) => load::build(engine, recipe, cancel, content, announce),
            Self::Layouts(layouts) => layouts::build(layouts, recipe, content, announce),
        }
    }

    /// Lets a name stand for an image.
    pub fn tag(&self, id: &str, name: &ImageName) -> Result<(), ImageError> {
        match self {
            Self::Engine(engine) => engine.tag(id, name),
            Self::Layouts(layouts) => layouts.tag(id, name),
        }
    }

    /// Takes a name away; the image goes too when that was its last. Nothing happens when the name stands for nothing.
    pub fn untag(&self, name: &ImageName) -> Result<(), ImageError> {
        match self {
            Self::Engine(engine) => engine.untag(name),
            Self::Layouts(layouts) => layouts.untag(name),
        }
    }

    /// Removes an image by id. Nothing happens when it is gone; [`ImageError::InUse`] when something holds it.
    pub fn remove_image(&self, id: &str) -> Result<(), ImageError> {
        match self {
            Self::Engine(engine) => engine.remove_image(id),
            Self::Layouts(layouts) => layouts.remove_image(id),
        }
    }

    /// What holds an image: ids of containers, and its names (as `name:…`).
    pub fn images_using(&self, id: &str) -> Result<Vec<String>, ImageError> {
        match self {
            Self::Engine(engine) => engine.holders(id),
            Self::Layouts(layouts) => layouts.holders(id),
        }
    }

    /// The private name that keeps an image for a run of `image`.
    ///
    /// In a layout it is a tag beside the train's own: a layout's images share one directory.
    pub fn pin_tag(&self, kept: PinnedImage, image: &ImageName, run: &str) -> ImageName {
        let what = match kept {
            PinnedImage::Sealed => "stationmaster-sealed",
            PinnedImage::Base => "stationmaster-base",
        };
        // A run id is a UUID: a valid tag by construction, and a short one.
        match self {
            Self::Engine(_) => ImageName::private(what, run),
            Self::Layouts(_) => ImageName::private(image.repository(), &format!("{what}-{run}")),
        }
    }

    /// Refuses to let an image go to a name where it cannot be: an image stays in its layout.
    pub fn check_retag(&self, now: &ImageName, then: &ImageName) -> Result<(), ImageError> {
        match self {
            Self::Layouts(_) if now.repository() != then.repository() => Err(layouts::OTHER_LAYOUT),
            _ => Ok(()),
        }
    }

    /// How long an image may still come that was announced and is not there: an engine may be at work on what it was sent.
    pub fn load_grace_period(&self) -> Duration {
        match self {
            Self::Engine(_) => Duration::from_secs(2),
            Self::Layouts(_) => Duration::ZERO,
        }
    }

    /// Removes what a crash left, as far as it can be known without the ledger. Answers how many containers.
    pub fn remove_stale(&self) -> Result<usize, ImageError> {
        match self {
            Self::Engine(engine) => engine.sweep(),
            // What is not whole there has no name.
            Self::Layouts(_) => Ok(0),
        }
    }

    /// Tries once more to remove the containers that were left because the engine was away.
    pub fn retry_pending_removals(&self) {
        if let Self::Engine(engine) = self {
            engine.remove_left();
        }
    }
}

/// The files of an image.
pub enum ImageFiles {
    /// As the engine gives them, of a container that is never started.
    Engine(Container),
    /// As they lie in a saved image's layers.
    Saved(LayeredTrainTree),
    /// As somebody sent them.
    Sent(UploadedTrain),
}

impl ImageFiles {
    /// Reads a path as a tar archive; in a saved image it is `/opt` or below.
    pub fn read(&self, path: &str, cancel: &CancellationToken) -> Result<FilesReader, ImageError> {
        Ok(match self {
            Self::Engine(container) => FilesReader::Engine(container.read(path, cancel)?),
            Self::Saved(files) => FilesReader::Saved(files.read(path, cancel)?),
            Self::Sent(opt) => FilesReader::Sent(opt.read(path, cancel)?),
        })
    }

    /// Lets go of it while the caller goes on.
    pub fn remove_in_background(self) -> Option<PendingRemoval> {
        match self {
            Self::Engine(container) => Some(container.leave()),
            Self::Saved(_) | Self::Sent(_) => None,
        }
    }
}

/// An archive on its way. Its errors carry an [`ImageError`] inside.
pub enum FilesReader {
    /// From an engine.
    Engine(EngineReader),
    /// From a saved image.
    Saved(TarStream),
    /// From what was sent.
    Sent(SentReader),
}

impl Read for FilesReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Engine(reader) => reader.read(buffer),
            Self::Saved(stream) => stream.read(buffer),
            Self::Sent(sent) => sent.read(buffer),
        }
    }
}
