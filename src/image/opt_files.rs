//! `/opt` of a saved image (a layout, or an archive in a file) as an engine would give it: a train passes one reader, wherever it lies.

mod home;
mod stream;
mod tree;

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use tokio_util::sync::CancellationToken;

use self::tree::{Node, OptTree, walk_order};
pub use self::{home::Home, stream::TarStream};
use super::ImageError;

/// A saved image, to read files of. Its layers are read, and their digests checked, once: when the first file is asked for.
pub struct OptFiles {
    home: Home,
    /// Where what lies in compressed layers is kept, in a file without a name.
    spool: PathBuf,
    reserve: u64,
    tree: OnceLock<Arc<OptTree>>,
}

impl OptFiles {
    /// Of an image; `reserve` bytes stay free where `spool` is.
    pub fn new(home: Home, spool: PathBuf, reserve: u64) -> Self {
        Self { home, spool, reserve, tree: OnceLock::new() }
    }

    /// Reads a path (`/opt` or below it) as a tar archive, named as an engine names: from the path's own last part on.
    pub fn read(&self, path: &str, cancel: &CancellationToken) -> Result<TarStream, ImageError> {
        let tree = self.tree(cancel)?;
        let path = path.trim_matches('/').as_bytes();
        if !tree.nodes.contains_key(path) {
            return Err(ImageError::PathMissing);
        }
        let parent = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let below = [path, b"/"].concat();
        let is_in = |one: &[u8]| one == path || one.starts_with(&below);
        let mut found: Vec<(Vec<u8>, Node)> =
            tree.nodes.iter().filter(|(one, _)| is_in(one)).map(|(one, node)| (one.clone(), node.clone())).collect();
        found.sort_by(|(one, _), (other, _)| walk_order(one, other));
        Ok(TarStream::new(self.home.clone(), tree, found, parent, cancel.clone()))
    }

    /// The image's id, as most engines have it: its configuration's digest. Empty where that is not there.
    pub fn image_id(&self, cancel: &CancellationToken) -> Result<String, ImageError> {
        Ok(self.tree(cancel)?.image_id.clone())
    }

    fn tree(&self, cancel: &CancellationToken) -> Result<Arc<OptTree>, ImageError> {
        if let Some(tree) = self.tree.get() {
            return Ok(Arc::clone(tree));
        }
        let tree = Arc::new(OptTree::read(&self.home, (&self.spool, self.reserve), cancel)?);
        Ok(Arc::clone(self.tree.get_or_init(|| tree)))
    }
}
