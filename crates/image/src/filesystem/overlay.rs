//! Applies layers in order and returns the resulting tree, as a container would see it.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::ambiguity::{self, ancestors};
use crate::ImageError;

/// Prefix of the entry name that removes a path.
pub(crate) const WHITEOUT: &[u8] = b".wh.";
/// Name of the entry that hides its directory's lower content.
pub(crate) const OPAQUE: &[u8] = b".wh..wh..opq";

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
        if name == OPAQUE {
            return Some(Self::Opaque(parent.to_vec()));
        }
        let removed = name.strip_prefix(WHITEOUT)?;
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

/// Effect of a layer's entry on `/opt`, by its name.
pub enum OfOpt<N> {
    /// The entry is at or below `/opt`.
    Content,
    /// The entry changes `/opt`.
    Change(Change<N>),
    /// The entry has no effect on `/opt`.
    Nothing,
}

impl<N> OfOpt<N> {
    /// Returns the effect of an entry with a plain path.
    pub fn by_name(path: &[u8]) -> Self {
        match Change::by_name(path) {
            None if concerns_opt(path) => Self::Content,
            Some(change) => match &change {
                Change::Remove(gone) | Change::Opaque(gone) if gone.is_empty() || concerns_opt(gone) => Self::Change(change),
                _ => Self::Nothing,
            },
            _ => Self::Nothing,
        }
    }
}

pub(crate) fn directory_of(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(&[], |slash| &path[..slash])
}

fn concerns_opt(path: &[u8]) -> bool {
    path.strip_prefix(b"opt").is_some_and(|rest| rest.first().is_none_or(|next| *next == b'/'))
}

/// Returns a path without `./` and slashes around it; `None` for the root. Climbing paths are rejected.
pub fn plain_path(path: &[u8]) -> Result<Option<Vec<u8>>, ImageError> {
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    if parts.contains(&&b".."[..]) {
        return Err(ImageError::Malformed("a path that climbs"));
    }
    Ok((!parts.is_empty()).then(|| parts.join(&b'/')))
}

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
        for change in changes.0.into_iter().flatten() {
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
