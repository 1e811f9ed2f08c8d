//! Functions that are private without the feature `fuzzing`, for `fuzz/`.

use crate::{oci::image_config::ImageMetadata, store::docker::full_load};

/// Copies a `docker save` archive into a folder `ours`, for a parent of `layers` layers, as for an engine that refuses an archive
/// with the new layer only. Returns the layers' paths, or `None` if the archive is refused.
pub fn copy_archive(saved: &[u8], layers: usize, out: &mut Vec<u8>) -> Option<Vec<String>> {
    let parent = ImageMetadata {
        id: stationmaster_train::digest::Sha256Digest::from([0; 32]).into(),
        layers: vec![String::new(); layers],
        config: serde_json::Map::new(),
        platform: serde_json::Map::new(),
        size: 0,
        history: Vec::new(),
    };
    full_load::copy_archive(saved, &parent, "ours", out).ok().map(|copied| copied.layers)
}
