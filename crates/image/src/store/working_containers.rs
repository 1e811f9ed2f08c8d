//! Containers and volumes for a train's plaintext outside an image: only an engine has them.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::recipe::{LayerSource, WriteError};
use crate::{ImageError, oci::reference::ImageId, opt::files::ImageFiles};

/// A volume in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeMount {
    /// The volume's name.
    pub volume: String,
    /// Absolute path in the container.
    pub target: String,
}

/// The working containers of a station. The functions must not be called from async code.
pub trait WorkingContainers: Send + Sync {
    /// Creates a container of an image with volumes in it. It is never started, and is removed on drop.
    fn create(&self, image_id: &ImageId, volumes: &[VolumeMount]) -> Result<Box<dyn WorkingContainer>, ImageError>;

    /// Creates an empty volume. An existing one is not an error.
    fn create_volume(&self, name: &str) -> Result<(), ImageError>;

    /// Removes a volume with its content. A missing one is not an error; [`ImageError::InUse`] if a container uses it.
    fn remove_volume(&self, name: &str) -> Result<(), ImageError>;

    /// Returns the ids of the containers that use a volume.
    fn volume_users(&self, name: &str) -> Result<Vec<String>, ImageError>;

    /// Removes the containers that a crash left. Returns their number.
    fn remove_stale(&self) -> Result<usize, ImageError>;

    /// Retries the removal of containers that were left because the engine was unavailable.
    fn retry_pending_removals(&self);

    /// Returns how long an announced image that does not exist may still appear: an engine may still process what it received.
    fn load_grace_period(&self) -> Duration;
}

/// A container that is never started; removed on drop.
pub trait WorkingContainer: ImageFiles {
    /// Writes an archive of paths below the container's root.
    fn write(&self, archive: &mut dyn LayerSource, cancel: &CancellationToken) -> Result<(), WriteError>;

    /// Returns the size of a file, as the engine knows it; [`ImageError::PathMissing`] if it does not exist.
    fn file_size(&self, path: &str) -> Result<u64, ImageError>;
}
