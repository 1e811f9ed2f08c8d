//! Description of a new image: its parent with one more layer.

use std::{error::Error, io::Write};

use tokio_util::sync::CancellationToken;

use crate::{
    ImageError,
    oci::{image_config::ImageMetadata, reference::ImageId},
};

/// A new image, without its layer.
pub struct ImageSpec<'a> {
    /// The parent image.
    pub parent: &'a ImageMetadata,
    /// The new layer's entry in the history.
    pub instruction: &'a str,
    /// Seconds since 1970.
    pub created: i64,
    /// Whether the new layer holds an opened train.
    pub is_plaintext: bool,
    /// Receives the id before the store gets the files that make the image: an image of that id may exist only after it returns.
    /// The last announced id is the valid one.
    pub announce: &'a dyn Fn(&ImageId) -> Result<(), WriteError>,
    /// Ends the writing.
    pub cancel: &'a CancellationToken,
}

/// The new layer of an image.
pub trait LayerSource {
    /// Returns the length of the layer's archive, in bytes.
    fn size(&self) -> u64;

    /// Writes the layer's archive to `out`, whose errors contain an [`ImageError`]. Called again, for the same bytes, if the store
    /// did not accept them in the first form.
    ///
    /// # Errors
    /// When `out` fails, or reading the content.
    fn write(&mut self, out: &mut dyn Write) -> Result<(), WriteError>;
}

/// An image that was written.
#[derive(Debug, PartialEq, Eq)]
pub struct BuiltImage {
    /// Its id.
    pub id: ImageId,
    /// A warning for the caller.
    pub warning: Option<&'static str>,
}

/// Error of writing an image or a layer.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The store failed, or an image that is read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The caller's part failed (a [`LayerSource`], or the announcement): its own error, unchanged.
    #[error(transparent)]
    Caller(Box<dyn Error + Send + Sync>),
}
