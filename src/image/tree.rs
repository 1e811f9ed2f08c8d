//! The final file tree of an image, and its digest.
//!
//! The tree is what a container would see: the layers of a `docker save` archive laid over each other, whiteouts applied.
//! Contents are hashed while they stream; only names and digests are kept. The canonical form is `docs/tree-digest.md`; whoever
//! changes it here changes it for everyone who recomputes it.

mod canonical;
mod layers;

use std::io::Read;

pub use canonical::TreeDigest;

use super::ImageError;

/// Computes the digest of the tree in a `docker save` archive. Where the engine names the image's layers, they must be
/// those: `layers`, digests of their archives (`sha256:…`), lowest first. `progress` is told the bytes read so far.
pub fn tree_digest(archive: impl Read, layers: Option<&[String]>, progress: impl FnMut(u64)) -> Result<TreeDigest, ImageError> {
    let tree = layers::read_tree(archive, layers, progress)?;
    Ok(canonical::digest(&tree))
}
