//! Rejects layers that different engines apply in different ways.
//!
//! By OCI's layer.md, whiteouts act on lower layers only, wherever they occur in their layer. Engines read a layer front to back:
//! overlay2 into a separate directory, where a whiteout is a device until another entry replaces it, and vfs into a copy of the
//! tree below. So the two agree with each other and with this crate only if a layer does not create what it removes, and puts
//! nothing below a path that is not a directory. Builders do neither. A copy of a tree in which a link is used as a directory
//! may, and is rejected. Other differences between engines: `docs/tree-digest.md`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ops::Bound,
};

use super::changeset::{Change, Node, ancestors, directory_of};
use crate::ImageError;

/// Effects of a layer so far, by path.
struct Applied<'a, N> {
    brings: HashMap<&'a [u8], &'a N>,
    removes: HashSet<&'a [u8]>,
    /// Directories in which an entry was created.
    entered: HashSet<&'a [u8]>,
    /// Such directories without an entry of their own.
    implied: BTreeSet<&'a [u8]>,
}

/// Checks a layer before it is applied to a tree.
pub(crate) fn check<'a, N: Node + 'a>(
    tree: &BTreeMap<Vec<u8>, N>,
    changes: impl Iterator<Item = &'a Change<N>>,
) -> Result<(), ImageError> {
    let mut done = Applied { brings: HashMap::new(), removes: HashSet::new(), entered: HashSet::new(), implied: BTreeSet::new() };
    let mut last = None;
    for change in changes {
        let directory = change.directory();
        // Adjacent entries are usually in one directory.
        if last.replace(directory) != Some(directory) {
            ancestors(directory).try_for_each(|way| done.on_directory(tree, way))?;
        }
        match change {
            Change::Set(path, node) => done.set(tree, path, node)?,
            Change::HardLink(path, link) => {
                // Engines with a separate directory for each layer find no link target there.
                if !done.brings.contains_key(link.0.as_slice()) {
                    return Err(ImageError::Malformed(
                        "a hard link to what its own layer has not brought by then: engines differ",
                    ));
                }
                done.on_entry(path, &link.1)?;
            }
            Change::Remove(path) if done.brings.contains_key(path.as_slice()) => return Err(REMOVES_WHAT_IT_BRINGS),
            Change::Remove(path) => drop(done.removes.insert(path)),
            Change::Opaque(path) => done.on_whiteout(tree, path)?,
        }
    }
    // The final state: some engines consider it alone.
    done.entered.iter().try_for_each(|way| done.allows(tree, way))
}

const REMOVES_WHAT_IT_BRINGS: ImageError = ImageError::Malformed("a layer that removes what it brings: engines differ");

impl<'a, N: Node> Applied<'a, N> {
    /// Checks the directory of a new entry. Engines that read front to back follow a link that exists at this moment.
    fn on_directory(&mut self, tree: &BTreeMap<Vec<u8>, N>, way: &'a [u8]) -> Result<(), ImageError> {
        self.allows(tree, way)?;
        if self.entered.insert(way) && !self.brings.contains_key(way) {
            if self.brings.get(directory_of(way)).is_some_and(|parent| parent.passes_on()) {
                return Err(ImageError::Malformed("a directory that is left out, in one that sets the group of what it gets"));
            }
            self.implied.insert(way);
        }
        Ok(())
    }

    fn set(&mut self, tree: &BTreeMap<Vec<u8>, N>, path: &'a [u8], node: &'a N) -> Result<(), ImageError> {
        let mut stands = self.brings.get(path).copied().into_iter().chain(tree.get(path));
        if stands.any(|other| node.is_device_over(other)) {
            return Err(ImageError::Malformed("a device in another thing's place: engines without privileges leave it out"));
        }
        if node.is_directory() {
            self.keeps_attributes(tree, path, node)?;
            self.implied.remove(path);
        }
        self.on_entry(path, node)
    }

    /// Checks a whiteout that hides a directory's lower content. Engines that copy the tree remove everything without an entry in
    /// this layer so far, even if the layer has added content to it.
    fn on_whiteout(&self, tree: &BTreeMap<Vec<u8>, N>, path: &[u8]) -> Result<(), ImageError> {
        // The root of a container's file system cannot be hidden.
        if path.is_empty() && !tree.is_empty() {
            return Err(ImageError::Malformed("a layer that hides the whole root: engines differ"));
        }
        let below = [path, b"/"].concat();
        let from = if path.is_empty() { &[][..] } else { &below };
        let next = self.implied.range::<[u8], _>((Bound::Included(from), Bound::Unbounded)).next();
        match next.is_some_and(|next| next.starts_with(from)) {
            true => {
                Err(ImageError::Malformed("a directory that is left out, and hidden once something is in it: engines differ"))
            }
            false => Ok(()),
        }
    }

    fn on_entry(&mut self, path: &'a [u8], node: &'a N) -> Result<(), ImageError> {
        // A file at a whiteout's path also hides lower content; a new directory makes it visible again to some engines.
        if node.is_directory() && self.removes.contains(path) {
            return Err(REMOVES_WHAT_IT_BRINGS);
        }
        match self.brings.insert(path, node) {
            Some(before) if before.is_directory() != node.is_directory() => {
                Err(ImageError::Malformed("a path that is a directory and something else in one layer: engines differ"))
            }
            _ => Ok(()),
        }
    }

    /// Rejects an entry for a directory that the layer has already created, by its own entry or by one below it, if it lacks one of
    /// the directory's attributes. Engines keep those of the first entry or, for containerd, of the lower layers' directory.
    fn keeps_attributes(&self, tree: &BTreeMap<Vec<u8>, N>, path: &[u8], node: &N) -> Result<(), ImageError> {
        let lower = self.entered.contains(path).then(|| tree.get(path)).flatten();
        let mut made = self.brings.get(path).copied().into_iter().chain(lower).filter(|before| before.is_directory());
        match made.any(|before| !node.has_attributes_of(before)) {
            true => {
                Err(ImageError::Malformed("a directory that is made twice, with an attribute that it then lacks: engines differ"))
            }
            false => Ok(()),
        }
    }

    /// Checks that an entry can exist at or below `way`.
    fn allows(&self, tree: &BTreeMap<Vec<u8>, N>, way: &[u8]) -> Result<(), ImageError> {
        if self.removes.contains(way) {
            return Err(REMOVES_WHAT_IT_BRINGS);
        }
        let node = self.brings.get(way).copied().or_else(|| tree.get(way));
        match node.is_none_or(Node::is_directory) {
            true => Ok(()),
            false => Err(ImageError::Malformed("a layer that puts something below what is no directory: engines differ")),
        }
    }
}
