//! Image store of a station: a Docker engine, or OCI layout directories on stations without one.

pub mod docker;
pub mod layouts;
pub mod recipe;
pub mod working_containers;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use self::recipe::{BuiltImage, ImageSpec, LayerSource, WriteError};
pub use crate::opt::files::{ImageFiles, PendingRemoval};
use crate::{
    ImageError,
    archive::source::ImageInput,
    oci::{
        image_config::ImageMetadata,
        reference::{ImageId, ImageName, ImageSource},
    },
};

/// Kind of the service's private name that keeps an image while a run needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinnedImage {
    /// The image that arrived.
    Sealed,
    /// The train's base.
    Base,
}

/// Properties of a kind of image store.
#[derive(Debug)]
pub struct StoreKind {
    /// Name in the log and in the health report.
    pub name: &'static str,
    /// The error for a name in another repository, if an image cannot leave its own.
    pub bound_to_repository: Option<&'static str>,
}

/// The images of a station. Its functions must not be called from async code, except [`ImageStore::kind`],
/// [`ImageStore::place`] and [`ImageStore::check`].
pub trait ImageStore: Send + Sync {
    /// Returns the properties of the store.
    fn kind(&self) -> &'static StoreKind;

    /// Returns where the store is, for messages: "the engine at …", "the layouts below …".
    fn place(&self) -> &str;

    /// Checks that the store can be used now.
    ///
    /// # Errors
    /// When the engine does not respond, or the directory is not writable.
    fn check(&self) -> BoxFuture<'_, Result<(), ImageError>>;

    /// Returns the current id of an image's name or id.
    fn resolve(&self, source: &ImageSource) -> Result<ImageId, ImageError>;

    /// Returns the images of a repository in the store, with or without a tag: their ids and their `repository@sha256:…`.
    fn images_of(&self, repository: &str) -> Result<Vec<(ImageId, Vec<String>)>, ImageError>;

    /// Returns an image's metadata without reading its layers.
    fn metadata(&self, id: &ImageId) -> Result<ImageMetadata, ImageError>;

    /// Opens the files of an image for reading.
    fn files(&self, id: &ImageId) -> Result<Box<dyn ImageFiles>, ImageError>;

    /// Opens the whole image as an input, to be read layer by layer.
    fn input(&self, id: &ImageId, cancel: &CancellationToken) -> Result<ImageInput<'static>, ImageError>;

    /// Writes an image: its parent with one more layer. The image has no name.
    fn build(&self, spec: &ImageSpec<'_>, layer: &mut dyn LayerSource) -> Result<BuiltImage, WriteError>;

    /// Adds a name to an image.
    fn tag(&self, id: &ImageId, name: &ImageName) -> Result<(), ImageError>;

    /// Removes a name; the image is removed too if it was its last. A missing name is not an error.
    fn untag(&self, name: &ImageName) -> Result<(), ImageError>;

    /// Removes an image by id. A missing image is not an error; [`ImageError::InUse`] if the image is in use.
    fn remove(&self, id: &ImageId) -> Result<(), ImageError>;

    /// Returns the users of an image: ids of containers made from it or from a child of it, and its names (as `name:…`).
    fn images_using(&self, id: &ImageId) -> Result<Vec<String>, ImageError>;

    /// As [`ImageStore::resolve`], with `None` for an image that does not exist.
    fn find(&self, source: &ImageSource) -> Result<Option<ImageId>, ImageError> {
        match self.resolve(source) {
            Ok(id) => Ok(Some(id)),
            Err(ImageError::NotFound) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Returns the private name that keeps an image for a run of `image`. It is in the image's own repository if an image cannot
    /// leave that.
    fn pin_tag(&self, pinned: PinnedImage, image: &ImageName, run: &str) -> ImageName {
        let what = match pinned {
            PinnedImage::Sealed => "stationmaster-sealed",
            PinnedImage::Base => "stationmaster-base",
        };
        // A run id is a UUID: a valid tag by construction, and a short one.
        match self.kind().bound_to_repository {
            None => ImageName::private(what, run),
            Some(_) => ImageName::private(image.repository(), &format!("{what}-{run}")),
        }
    }

    /// Fails if an image would have to leave its repository to get the new name, and cannot.
    fn check_retag(&self, now: &ImageName, then: &ImageName) -> Result<(), ImageError> {
        match self.kind().bound_to_repository {
            Some(error) if now.repository() != then.repository() => Err(ImageError::Reference(error)),
            _ => Ok(()),
        }
    }
}
