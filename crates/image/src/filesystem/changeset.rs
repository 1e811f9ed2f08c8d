//! Changesets: the changes that layers make, and what they need of the nodes of a tree.

use std::collections::HashMap;

use crate::oci::whiteouts::{OPAQUE, WHITEOUT};

/// A node at a path of the tree.
pub trait Node: Clone {
    /// Returns the directory that is created if a layer has entries below it, but none for it.
    fn implied_directory() -> Self;
    /// Whether the node equals [`Node::implied_directory`].
    fn is_implied_directory(&self) -> bool;
    /// Whether entries can be below the node.
    fn is_directory(&self) -> bool;
    /// Whether it has every extended attribute that `other` has, with any value.
    fn has_attributes_of(&self, _other: &Self) -> bool {
        true
    }
    /// Whether new directories in it get other attributes than usual: the set-group-id bit is inherited.
    fn passes_on(&self) -> bool {
        false
    }
    /// Whether it is a device that replaces a node that is not the same device.
    fn is_device_over(&self, _other: &Self) -> bool {
        false
    }
    /// Whether it stays unchanged when a hard link to it has the attributes of `link`: engines apply them to the link's target.
    fn takes_link(&self, _link: &Self) -> bool {
        false
    }
}

/// A change that a layer makes to the tree below it. Paths have no slash at either end.
#[derive(Clone)]
pub enum Change<N> {
    /// Sets the node at this path.
    Set(Vec<u8>, N),
    /// Makes the path another name of the boxed path's node; the entry has these attributes.
    HardLink(Vec<u8>, Box<(Vec<u8>, N)>),
    /// Removes the node at this path.
    Remove(Vec<u8>),
    /// Removes everything below this path.
    Opaque(Vec<u8>),
}

impl<N> Change<N> {
    /// Returns the directory of the changed path; the root is empty.
    pub fn directory(&self) -> &[u8] {
        match self {
            Self::Opaque(directory) => directory,
            Self::Set(path, _) | Self::HardLink(path, ..) | Self::Remove(path) => directory_of(path),
        }
    }

    /// Returns the path if the change sets a directory.
    pub fn directory_set(&self) -> Option<&[u8]>
    where
        N: Node,
    {
        match self {
            Self::Set(path, node) if node.is_directory() => Some(path),
            _ => None,
        }
    }

    /// Returns the change that an entry's name alone determines; `None` for an ordinary entry.
    pub fn by_name(path: &[u8]) -> Option<Self> {
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&[][..], path),
        };
        if name == OPAQUE.as_bytes() {
            return Some(Self::Opaque(parent.to_vec()));
        }
        let removed = name.strip_prefix(WHITEOUT.as_bytes())?;
        let slash: &[u8] = if parent.is_empty() { b"" } else { b"/" };
        Some(Self::Remove([parent, slash, removed].concat()))
    }
}

/// Number of changes per piece of [`Changes`].
const PIECE: usize = 1024;

/// All changes of a layer in their order, stored in pieces so that applied ones can be freed while the rest is applied.
#[derive(Clone)]
pub struct Changes<N>(Vec<Vec<Change<N>>>);

impl<N> Default for Changes<N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<N> Changes<N> {
    /// Adds a change.
    pub fn push(&mut self, change: Change<N>) {
        match self.0.last_mut() {
            Some(piece) if piece.len() < PIECE => piece.push(change),
            _ => self.0.push(vec![change]),
        }
    }

    /// Returns the changes in order.
    pub fn iter(&self) -> impl Iterator<Item = &Change<N>> {
        self.0.iter().flatten()
    }
}

impl<N> IntoIterator for Changes<N> {
    type Item = Change<N>;
    type IntoIter = std::iter::Flatten<std::vec::IntoIter<Vec<Change<N>>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().flatten()
    }
}

/// Changes by the layer's name. A layer without entries is absent.
pub type ByLayer<N> = HashMap<String, Changes<N>>;

/// Adds a change of a layer.
pub fn add_change<N>(layers: &mut ByLayer<N>, layer: &str, change: Change<N>) {
    match layers.get_mut(layer) {
        Some(changes) => changes.push(change),
        None => layers.entry(layer.to_owned()).or_default().push(change),
    }
}

/// Returns the changes of each layer of `names`, lowest first. A layer's changes are freed after its last occurrence.
pub fn in_order<N: Clone>(mut layers: ByLayer<N>, names: &[String]) -> impl Iterator<Item = Changes<N>> {
    names.iter().enumerate().map(move |(at, name)| {
        let changes = if names[at + 1..].contains(name) { layers.get(name).cloned() } else { layers.remove(name) };
        changes.unwrap_or_default()
    })
}

/// Returns the directory of a path; the root is empty.
pub(crate) fn directory_of(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(&[], |slash| &path[..slash])
}

/// Returns a path and its parents, outermost first; nothing for the root.
pub(crate) fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    slashes.chain((!path.is_empty()).then_some(path.len())).map(|end| &path[..end])
}
