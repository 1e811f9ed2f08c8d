//! The files of an image in a layout, as an engine would give them: below `/opt` only, which is all of a train.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use super::{
    opt::{Node, OptTree, walk_order},
    stream::TarStream,
};
use crate::image::{ImageError, saved::layout::Layout};

/// An image of a layout, to read files of. Its layers are read, and their digests checked, once: when the first file is asked for.
pub struct LayoutFiles {
    layout: Layout,
    reserve: u64,
    tree: OnceLock<Arc<OptTree>>,
}

impl LayoutFiles {
    pub(super) fn new(layout: Layout, reserve: u64) -> Self {
        Self { layout, reserve, tree: OnceLock::new() }
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
        Ok(TarStream::new(self.layout.clone(), tree, found, parent, cancel.clone()))
    }

    fn tree(&self, cancel: &CancellationToken) -> Result<Arc<OptTree>, ImageError> {
        if let Some(tree) = self.tree.get() {
            return Ok(Arc::clone(tree));
        }
        let tree = Arc::new(OptTree::read(&self.layout, self.reserve, cancel)?);
        Ok(Arc::clone(self.tree.get_or_init(|| tree)))
    }
}
