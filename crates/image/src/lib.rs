//! Reads and writes container images as streams: from the Docker engine, OCI layout directories, and image archives.
//!
//! Content from an image is untrusted and passes the strict reader in [`opt`]. Only the writer in [`tar`](self::tar) builds new
//! layers. [`store`] holds a station's images, in the engine or, on stations without one, in layout directories.

pub mod archive;
pub mod checks;
pub mod disk;
mod error;
pub mod filesystem;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod oci;
pub mod opt;
pub mod store;
pub mod tar;
#[cfg(test)]
mod test_archives;

pub use self::error::{EngineSays, ImageError};
