//! Reads and writes container images as streams: from the Docker engine, OCI layout directories, and image archives.
//!
//! Content from an image is untrusted and passes the strict reader in [`opt`]. Only the writer in [`tar`](self::tar) builds new
//! layers. [`store`] holds a station's images, in the engine or, on stations without one, in layout directories.

pub mod archive;
pub mod checks;
pub mod disk;
mod error;
pub mod filesystem;
pub mod oci;
pub mod opt;
pub mod store;
pub mod tar;
#[cfg(test)]
mod test_archives;

pub use self::error::{EngineSays, ImageError};

/// Copies a `docker save` archive into a folder `ours`, for a parent of `layers` layers; returns the layers' paths. For fuzz/.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn pass_on_for_fuzzing(saved: &[u8], layers: usize, out: &mut Vec<u8>) -> Option<Vec<String>> {
    let parent = oci::image_config::ImageMetadata {
        id: format!("sha256:{}", "0".repeat(64)),
        layers: vec![String::new(); layers],
        config: serde_json::Map::new(),
        platform: serde_json::Map::new(),
        size: 0,
        history: Vec::new(),
    };
    store::docker::full_load::copy_archive(saved, &parent, "ours", out).ok().map(|passed| passed.layers)
}
