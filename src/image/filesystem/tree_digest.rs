//! The final file tree of an image, its digest, and what its upper layers changed.
//!
//! The tree is what a container would see: the layers laid over each other, whiteouts applied. Contents are hashed while they stream;
//! only names and digests are kept. The canonical form is `docs/tree-digest.md`; whoever changes it here changes it for everyone who
//! recomputes it.

use std::io::Read;

use super::{canonical::TreeDigest, layers::Layers};
use crate::image::{
    ImageError,
    archive::{reader::SavedImage, source::ImageInput},
    filesystem::canonical,
};

/// Computes the digest of the tree in an image's archive. Where the engine names the image's layers, they must be
/// those: `layers`, digests of their archives (`sha256:…`), lowest first. `progress` is told the bytes read so far.
pub fn tree_digest(archive: impl Read, layers: Option<&[String]>, progress: impl FnMut(u64)) -> Result<TreeDigest, ImageError> {
    Ok(digest_of(ImageInput::archive(archive), layers, progress)?.0)
}

/// As [`tree_digest`], of an image anywhere; answers what its files say of it, too.
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
