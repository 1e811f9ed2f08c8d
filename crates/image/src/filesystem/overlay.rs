//! Applies layers in order and returns the resulting tree, as a container would see it.

use std::collections::{BTreeMap, HashSet};

use super::{
    ambiguity,
    changeset::{Change, Changes, Node, ancestors},
};
use crate::ImageError;

/// A tree to which layers are applied.
pub struct Overlay<N> {
    /// The tree that a container would see so far. Paths have no slash at either end.
    pub tree: BTreeMap<Vec<u8>, N>,
    /// Paths that were below hidden or removed paths, or were replaced by a directory; without directories that equal implied ones.
    /// Some engines still take the attributes of a directory without an entry from there.
    hidden: HashSet<Vec<u8>>,
}

impl<N> Default for Overlay<N> {
    fn default() -> Self {
        Self { tree: BTreeMap::new(), hidden: HashSet::new() }
    }
}

impl<N: Node> Overlay<N> {
    /// Applies a layer to the tree. `before` receives the node at each path that is about to change, possibly more than once. A layer
    /// that engines would apply in different ways is rejected ([`super::ambiguity`]).
    pub fn apply_layer(&mut self, changes: Changes<N>, before: &mut dyn FnMut(&[u8], Option<&N>)) -> Result<(), ImageError> {
        ambiguity::check(&self.tree, changes.iter())?;
        // A whiteout affects lower layers, wherever it occurs in its own.
        for change in changes.iter() {
            match change {
                Change::Remove(path) => {
                    if let Some(node) = self.tree.remove(path) {
                        before(path, Some(&node));
                    }
                    self.remove_below(path, before);
                }
                Change::Opaque(path) => self.remove_below(path, before),
                _ => {}
            }
        }
        for change in changes {
            self.add_directories(change.directory(), before)?;
            let (path, node) = match change {
                Change::Set(path, node) => (path, node),
                Change::HardLink(path, link) => {
                    let (target, link) = &*link;
                    let found = self.tree.get(target).ok_or(ImageError::Malformed("a hard link to nothing"))?;
                    if found.is_directory() || !found.takes_link(link) {
                        return Err(ImageError::Malformed(
                            "a hard link with another owner, mode or attribute than what it leads to",
                        ));
                    }
                    (path, found.clone())
                }
                Change::Remove(_) | Change::Opaque(_) => continue,
            };
            let old = self.tree.get(&path);
            before(&path, old);
            match old.map(N::is_directory) {
                Some(true) if !node.is_directory() => self.remove_below(&path, before),
                Some(false) if node.is_directory() => drop(self.hidden.insert(path.clone())),
                _ => {}
            }
            self.tree.insert(path, node);
        }
        Ok(())
    }

    /// Adds directories without an entry in the layer, as the engine creates them.
    fn add_directories(&mut self, directory: &[u8], before: &mut dyn FnMut(&[u8], Option<&N>)) -> Result<(), ImageError> {
        for way in ancestors(directory) {
            if self.tree.contains_key(way) {
                continue;
            }
            if !self.hidden.is_empty() && ancestors(way).any(|way| self.hidden.contains(way)) {
                return Err(ImageError::Malformed(
                    "a directory that is left out, where a lower layer's is hidden: engines differ",
                ));
            }
            before(way, None);
            self.tree.insert(way.to_vec(), N::implied_directory());
        }
        Ok(())
    }

    fn remove_below(&mut self, path: &[u8], before: &mut dyn FnMut(&[u8], Option<&N>)) {
        // All paths below are between "path/" and "path0": '0' follows '/'.
        let (from, to) = ([path, b"/"].concat(), [path, b"0"].concat());
        let below: Vec<Vec<u8>> = self.tree.range(from..to).map(|(path, _)| path.clone()).collect();
        for path in below {
            let Some(node) = self.tree.remove(&path) else { continue };
            before(&path, Some(&node));
            if !node.is_implied_directory() {
                self.hidden.insert(path);
            }
        }
    }
}
