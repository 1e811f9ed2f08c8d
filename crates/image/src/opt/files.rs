//! Files of an image, read by path: from an engine's container, a saved image's layers, or an uploaded archive.

use std::io::Read;

use tokio_util::sync::CancellationToken;

use crate::ImageError;

/// Reader of a tar archive. Its errors contain an [`ImageError`].
pub type FilesReader = Box<dyn Read + Send>;

/// The files of an image.
pub trait ImageFiles: Send {
    /// Reads a path as a tar archive, with an engine's names: they begin with the path's last component. Outside an engine the
    /// path must be `/opt` or below.
    ///
    /// # Errors
    /// [`ImageError::PathMissing`] when the path does not exist, here or from the reader.
    fn read(&self, path: &str, cancel: &CancellationToken) -> Result<FilesReader, ImageError>;

    /// Releases the files in the background.
    fn remove_in_background(self: Box<Self>) -> PendingRemoval {
        PendingRemoval::default()
    }
}

/// A removal in the background. Dropping this waits for its end.
#[must_use = "dropping this waits for the removal"]
#[derive(Default)]
pub struct PendingRemoval(Option<Box<dyn FnOnce() + Send>>);

impl PendingRemoval {
    /// Returns a removal that has begun; `wait` returns when it has ended.
    pub(crate) fn new(wait: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(wait)))
    }
}

impl Drop for PendingRemoval {
    fn drop(&mut self) {
        if let Some(wait) = self.0.take() {
            wait();
        }
    }
}
