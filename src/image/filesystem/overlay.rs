//! Layers laid over each other: the tree a container would see.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::ambiguity::{self, ancestors};
use crate::image::ImageError;

/// The name that marks a removed path.
pub(in crate::image) const WHITEOUT: &[u8] = b".wh.";
/// The name that marks a directory whose lower content is hidden.
pub(in crate::image) const OPAQUE: &[u8] = b".wh..wh..opq";

/// What stands at a path.
pub trait Node: Clone {
    /// A directory that a layer leaves out though something is below it.
    fn implied_directory() -> Self;
    /// Whether it is like one.
    fn is_implied_directory(&self) -> bool;
    /// Whether something can be below it.
    fn is_directory(&self) -> bool;
    /// Whether it has every extended attribute that `other` has, with whatever value.
    fn has_attributes_of(&self, _other: &Self) -> bool {
        true
    }
    /// Whether a directory that is made in it is not like others: the set-group-id bit is passed on.
    fn passes_on(&self) -> bool {
        false
    }
    /// Whether it is a device in the place of what is not that device.
    fn is_device_over(&self, _other: &Self) -> bool {
        false
    }
    /// Whether it stays as it is when a hard link to it has the attributes of `link`: engines give them to what it leads to.
    fn takes_link(&self, _link: &Self) -> bool {
        false
    }
}

/// What a layer does to the tree below it. Paths have no slash at either end.
#[derive(Clone)]
pub enum Change<N> {
    /// Something stands here.
    Set(Vec<u8>, N),
    /// The path is another name of what stands at the one in the box; the entry has these attributes.
    HardLink(Vec<u8>, Box<(Vec<u8>, N)>),
    /// What stood here is gone.
    Remove(Vec<u8>),
    /// What stood below here is gone.
    Opaque(Vec<u8>),
}

impl<N> Change<N> {
    /// The directory that it acts in; the root is empty.
    pub fn directory(&self) -> &[u8] {
        match self {
            Self::Opaque(directory) => directory,
            Self::Set(path, _) | Self::HardLink(path, ..) | Self::Remove(path) => directory_of(path),
        }
    }

    /// The path of a directory that it sets.
    pub fn directory_set(&self) -> Option<&[u8]>
    where
        N: Node,
    {
        match self {
            Self::Set(path, node) if node.is_directory() => Some(path),
            _ => None,
        }
    }

    /// What the mere name of an entry does; `None` when it stands for itself.
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

/// Changes of a piece of [`Changes`].
const PIECE: usize = 1024;

/// All that a layer does, in its order: in pieces, so that what was laid is freed while the rest is laid.
#[derive(Clone)]
pub struct Changes<N>(Vec<Vec<Change<N>>>);

impl<N> Default for Changes<N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<N> Changes<N> {
    /// Adds one.
    pub fn push(&mut self, change: Change<N>) {
        match self.0.last_mut() {
            Some(piece) if piece.len() < PIECE => piece.push(change),
            _ => self.0.push(vec![change]),
        }
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = &Change<N>> {
        self.0.iter().flatten()
    }
}

/// The changes of layers, by the layer's name; one without entries has none.
pub type ByLayer<N> = HashMap<String, Changes<N>>;

/// Adds what a layer does.
pub fn add_change<N>(layers: &mut ByLayer<N>, layer: &str, change: Change<N>) {
    match layers.get_mut(layer) {
        Some(changes) => changes.push(change),
        None => layers.entry(layer.to_owned()).or_default().push(change),
    }
}

/// The changes of each layer of `names`, lowest first. A layer's are given up when it does not occur again.
pub fn in_order<N: Clone>(mut layers: ByLayer<N>, names: &[String]) -> impl Iterator<Item = Changes<N>> {
    names.iter().enumerate().map(move |(at, name)| {
        let changes = if names[at + 1..].contains(name) { layers.get(name).cloned() } else { layers.remove(name) };
        changes.unwrap_or_default()
    })
}

/// What an entry of a layer is to `/opt`, by its name.
pub enum OfOpt<N> {
    /// It stands at or below `/opt`.
    Content,
    /// It changes what stands there.
    Change(Change<N>),
    /// Nothing.
    Nothing,
}

impl<N> OfOpt<N> {
    /// Of a plain path.
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

pub(in crate::image) fn directory_of(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(&[], |slash| &path[..slash])
}

fn concerns_opt(path: &[u8]) -> bool {
    path.strip_prefix(b"opt").is_some_and(|rest| rest.first().is_none_or(|next| *next == b'/'))
}

/// A path without `./` and slashes around it; `None` for the root. Climbing paths are refused.
pub fn plain_path(path: &[u8]) -> Result<Option<Vec<u8>>, ImageError> {
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    if parts.contains(&&b".."[..]) {
        return Err(ImageError::Malformed("a path that climbs"));
    }
    Ok((!parts.is_empty()).then(|| parts.join(&b'/')))
}

/// Layers laid over each other.
pub struct Overlay<N> {
    /// What a container would see so far. Paths have no slash at either end.
    pub tree: BTreeMap<Vec<u8>, N>,
    /// What lay below what is hidden or gone, or a directory has taken the place of; but no directories like those that are left out. Some engines
    /// still look there for what a directory is like that a layer leaves out.
    hidden: HashSet<Vec<u8>>,
}

impl<N> Default for Overlay<N> {
    fn default() -> Self {
        Self { tree: BTreeMap::new(), hidden: HashSet::new() }
    }
}

impl<N: Node> Overlay<N> {
    /// Lays a layer over what is there. `before` is told what stood at a path that is about to change; it may be told the same path again. A layer
    /// that engines would take in different ways is refused ([`meaning`]).
    pub fn apply_layer(&mut self, changes: Changes<N>, before: &mut dyn FnMut(&[u8], Option<&N>)) -> Result<(), ImageError> {
        ambiguity::check(&self.tree, changes.iter())?;
        // A whiteout is about lower layers, wherever it stands in its own.
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

    /// Directories that a layer leaves out exist all the same, as the engine makes them.
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
