//! Computes an image's final file tree, its digest, and the changes of its upper layers.
//!
//! The tree is the one that a container would have: all layers applied, including whiteouts. Contents are hashed while they
//! stream; only names and digests are kept. The canonical form is defined in `docs/tree-digest.md`. A change of the form here
//! affects every implementation that recomputes the digest.

use std::io::Read;

use super::{canonical::TreeDigest, layers::Layers};
use crate::{
    ImageError,
    archive::{reader::SavedImage, source::ImageInput},
    filesystem::canonical,
};

/// Computes the tree digest of the image in an archive. If the engine names the image's layers, the image must have those:
/// `layers`, digests of their archives (`sha256:…`), lowest first. `progress` receives the number of bytes read so far.
pub fn tree_digest(archive: impl Read, layers: Option<&[String]>, progress: impl FnMut(u64)) -> Result<TreeDigest, ImageError> {
    Ok(digest_of(ImageInput::archive(archive), layers, progress)?.0)
}

/// As [`tree_digest`], for any image input; also returns the image's description.
pub fn digest_of(
    place: ImageInput<'_>,
    layers: Option<&[String]>,
    progress: impl FnMut(u64),
) -> Result<(TreeDigest, SavedImage), ImageError> {
    let mut read = Layers::default();
    let image = place.read(layers, &mut read, progress)?;
    let overlaid = read.overlay(&image.layers, image.layers.len())?;
    Ok((canonical::digest(&overlaid.tree), image))
}
