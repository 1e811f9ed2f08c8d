//! Image store of a station: a Docker engine, or OCI layout directories on stations without one.

pub mod docker;
pub mod layouts;
pub mod recipe;

use std::{
    io::{self, Read},
    sync::OnceLock,
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use self::{
    docker::{Container, Engine, EngineReader, PendingRemoval, load},
    layouts::LayoutStore,
    recipe::{BuiltImage, ImageSpec, LayerSource, WriteError},
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

/// Description of the image store of this process, for errors about a missing image.
static PLACE: OnceLock<String> = OnceLock::new();

/// Returns the description of this process's image store, once it is set.
pub fn whereabouts() -> Option<&'static str> {
    PLACE.get().map(String::as_str)
}

/// Sets the description of this process's image store. Only the first call has an effect: a process has one store.
pub fn look_in(place: String) {
    let _ = PLACE.set(place);
}

/// Kind of the service's private name that keeps an image while a run needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinnedImage {
    /// The image that arrived.
    Sealed,
    /// The train's base.
    Base,
}

impl ImageStore {
    /// Returns the engine.
    ///
    /// # Errors
    /// [`ImageError::NoEngine`] when the images are not in an engine.
    pub fn engine(&self) -> Result<&Engine, ImageError> {
        match self {
            Self::Engine(engine) => Ok(engine),
            Self::Layouts(_) => Err(ImageError::NoEngine),
        }
    }

    /// Returns the store's name in the log.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Engine(_) => "engine",
            Self::Layouts(_) => "layouts",
        }
    }

    /// Checks that the store can be used now.
    ///
    /// # Errors
    /// When the engine does not respond, or the directory is not writable.
    pub async fn check(&self) -> Result<(), ImageError> {
        match self {
            Self::Engine(engine) => engine.ping().await,
            Self::Layouts(layouts) => layouts.check(),
        }
    }

    /// Returns the current id of an image's name or id.
    pub fn resolve(&self, source: &ImageSource) -> Result<String, ImageError> {
        match self {
            Self::Engine(engine) => engine.resolve(source),
            Self::Layouts(layouts) => layouts.resolve(source),
        }
    }

    /// As [`ImageStore::resolve`], with `None` for an image that does not exist.
    pub fn find(&self, source: &ImageSource) -> Result<Option<String>, ImageError> {
        match self.resolve(source) {
            Ok(id) => Ok(Some(id)),
            Err(ImageError::NotFound) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Returns the images of a repository in the store, with or without a tag: their ids and their `repository@sha256:…`.
    pub fn images_of(&self, repository: &str) -> Result<Vec<(String, Vec<String>)>, ImageError> {
        match self {
            Self::Engine(engine) => engine.images_of(repository),
            Self::Layouts(layouts) => layouts.images_of(repository),
        }
    }

    /// Returns an image's metadata without reading its layers.
    pub fn facts(&self, id: &str) -> Result<ImageMetadata, ImageError> {
        match self {
            Self::Engine(engine) => engine.facts(id),
            Self::Layouts(layouts) => layouts.facts(id),
        }
    }

    /// Opens the files of an image for reading.
    pub fn files(&self, id: &str) -> Result<ImageFiles, ImageError> {
        Ok(match self {
            Self::Engine(engine) => ImageFiles::Engine(engine.container(id)?),
            Self::Layouts(layouts) => ImageFiles::Saved(layouts.files(id)?),
        })
    }

    /// Opens the whole image as an input, to be read layer by layer.
    pub fn place(&self, id: &str, cancel: &CancellationToken) -> Result<ImageInput<'static>, ImageError> {
        Ok(match self {
            Self::Engine(engine) => ImageInput::archive(engine.save(id, cancel)?),
            Self::Layouts(layouts) => ImageInput::Layout(layouts.of_id(id)?),
        })
    }

    /// Writes an image.
    pub fn build(&self, spec: &ImageSpec<'_>, source: &mut dyn LayerSource) -> Result<BuiltImage, WriteError> {
        match self {
            Self::Engine(engine) => load::build(engine, spec, source),
            Self::Layouts(layouts) => layouts::build(layouts, spec, source),
        }
    }

    /// Adds a name to an image.
    pub fn tag(&self, id: &str, name: &ImageName) -> Result<(), ImageError> {
        match self {
            Self::Engine(engine) => engine.tag(id, name),
            Self::Layouts(layouts) => layouts.tag(id, name),
        }
    }

    /// Removes a name; the image is removed too if it was its last. A missing name is not an error.
    pub fn untag(&self, name: &ImageName) -> Result<(), ImageError> {
        match self {
            Self::Engine(engine) => engine.untag(name),
            Self::Layouts(layouts) => layouts.untag(name),
        }
    }

    /// Removes an image by id. A missing image is not an error; [`ImageError::InUse`] if the image is in use.
    pub fn remove_image(&self, id: &str) -> Result<(), ImageError> {
        match self {
            Self::Engine(engine) => engine.remove_image(id),
            Self::Layouts(layouts) => layouts.remove_image(id),
        }
    }

    /// Returns the users of an image: ids of containers, and its names (as `name:…`).
    pub fn images_using(&self, id: &str) -> Result<Vec<String>, ImageError> {
        match self {
            Self::Engine(engine) => engine.holders(id),
            Self::Layouts(layouts) => layouts.holders(id),
        }
    }

    /// Returns the private name that keeps an image for a run of `image`.
    ///
    /// In a layout it is a tag next to the train's own, because a layout's images share one directory.
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

    /// Fails if an image would have to move to another layout to get the new name: an image stays in its layout.
    pub fn check_retag(&self, now: &ImageName, then: &ImageName) -> Result<(), ImageError> {
        match self {
            Self::Layouts(_) if now.repository() != then.repository() => Err(layouts::OTHER_LAYOUT),
            _ => Ok(()),
        }
    }

    /// Returns how long an announced image that does not exist may still appear: an engine may still process what it received.
    pub fn load_grace_period(&self) -> Duration {
        match self {
            Self::Engine(_) => Duration::from_secs(2),
            Self::Layouts(_) => Duration::ZERO,
        }
    }

    /// Removes leftovers of a crash, as far as they are known without the ledger. Returns the number of containers.
    pub fn remove_stale(&self) -> Result<usize, ImageError> {
        match self {
            Self::Engine(engine) => engine.sweep(),
            // Incomplete files in a layout have no name.
            Self::Layouts(_) => Ok(0),
        }
    }

    /// Retries the removal of containers that were left because the engine was unavailable.
    pub fn retry_pending_removals(&self) {
        if let Self::Engine(engine) = self {
            engine.remove_left();
        }
    }
}

/// The files of an image.
pub enum ImageFiles {
    /// Files of a container in the engine that is never started.
    Engine(Container),
    /// Files in a saved image's layers.
    Saved(LayeredTrainTree),
    /// Files of an uploaded archive.
    Sent(UploadedTrain),
}

impl ImageFiles {
    /// Reads a path as a tar archive; in a saved image it must be `/opt` or below.
    pub fn read(&self, path: &str, cancel: &CancellationToken) -> Result<FilesReader, ImageError> {
        Ok(match self {
            Self::Engine(container) => FilesReader::Engine(container.read(path, cancel)?),
            Self::Saved(files) => FilesReader::Saved(files.read(path, cancel)?),
            Self::Sent(opt) => FilesReader::Sent(opt.read(path, cancel)?),
        })
    }

    /// Releases the files in the background.
    pub fn remove_in_background(self) -> Option<PendingRemoval> {
        match self {
            Self::Engine(container) => Some(container.leave()),
            Self::Saved(_) | Self::Sent(_) => None,
        }
    }
}

/// Reader of a tar archive. Its errors contain an [`ImageError`].
pub enum FilesReader {
    /// From an engine.
    Engine(EngineReader),
    /// From a saved image.
    Saved(TarStream),
    /// From an upload.
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
