//! The receiver of an image's layers.

use std::io::Read;

use crate::{ImageError, tar::reader::TarEntry};

/// Receives the entries of layers in the archive's order, which may differ from the layers' order.
pub trait LayerSink {
    /// The sink's error.
    type Error: From<ImageError>;

    /// Begins a layer: its name and its file's position in the archive; `None` when it is compressed.
    fn layer(&mut self, _name: &str, _position: Option<u64>) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Receives an entry of the layer with this name in the archive. Unread content is skipped.
    fn entry(&mut self, layer: &str, entry: &TarEntry, content: &mut dyn Read) -> Result<(), Self::Error>;
}
