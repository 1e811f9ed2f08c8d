//! Hashes an image's layers as they stream, and applies them in order to get the final tree.

use std::{
    collections::{BTreeMap, HashMap, HashSet, btree_map::Entry as BTreePlace},
    io::Read,
};

use stationmaster_train::digest::FileHasher;
use tar::EntryType;

use super::{
    canonical::{Attributes, Kind, Node, Tree},
    overlay::Overlay,
};
use crate::{
    ImageError,
    archive::{layer_sink::LayerSink, memory_budget::Share},
    filesystem::changeset::{self, ByLayer, Change, add_change, ancestors, in_order},
    tar::{
        entry::{FileAttrs, plain_path},
        reader::TarEntry,
    },
};

/// Maximum number of entries that are kept, all layers together.
const ENTRY_LIMIT: usize = 1_000_000;
/// Memory of an extended attribute in addition to its name and value, in bytes.
const OF_ATTRIBUTE: usize = 64;
const LINK: ImageError = ImageError::Malformed("a link without a target");
/// The attribute that holds a file's capabilities.
const CAPABILITIES: &[u8] = b"security.capability";
/// Bytes of content processed at a time.
const BUFFER: usize = 64 * 1024;

impl changeset::Node for Node {
    fn implied_directory() -> Self {
        implied_directory()
    }

    fn is_implied_directory(&self) -> bool {
        *self == implied_directory()
    }

    fn is_directory(&self) -> bool {
        self.kind == Kind::Directory
    }

    fn has_attributes_of(&self, other: &Self) -> bool {
        other.xattrs.keys().all(|name| self.xattrs.contains_key(name))
    }

    fn passes_on(&self) -> bool {
        self.mode & 0o2000 != 0
    }

    fn is_device_over(&self, other: &Self) -> bool {
        matches!(self.kind, Kind::Character(..) | Kind::Block(..)) && self.kind != other.kind
    }

    fn takes_link(&self, link: &Self) -> bool {
        // The system removes a file's capabilities when an engine sets its owner again.
        let attributes = |node: &Self| (node.mode, node.uid, node.gid, node.xattrs.get(CAPABILITIES).cloned());
        attributes(self) == attributes(link) && link.xattrs.iter().all(|(name, value)| self.xattrs.get(name) == Some(value))
    }
}

/// Returns the directory that engines create where a layer has no entry for it: root's, 0755.
pub(crate) fn implied_directory() -> Node {
    Node { kind: Kind::Directory, mode: 0o755, uid: 0, gid: 0, xattrs: BTreeMap::new() }
}

/// Collects the changes of layers.
#[derive(Default)]
pub(crate) struct Layers {
    /// Changes by the layer's name.
    pub changes: ByLayer<Node>,
    /// Root entries of layers that have one: some engines apply them. The root is not part of the tree.
    roots: HashMap<String, Node>,
    kept: usize,
    share: Share,
    /// Buffer for contents.
    buffer: Vec<u8>,
}

/// Result of applying the layers.
pub(crate) struct FinalTree {
    /// The tree that a container would have.
    pub tree: Tree,
    /// Nodes at the paths changed by upper layers, before those layers.
    pub before: BTreeMap<Vec<u8>, Option<Node>>,
    /// Directories that an upper layer changes without an entry of its own: some engines recreate them as root's, 0755. Only those
    /// that had other attributes.
    pub left_out: BTreeMap<Vec<u8>, Node>,
    /// Attributes that directories had in between and lost: engines that copy the tree below (vfs, btrfs, zfs) keep them.
    pub lost: BTreeMap<Vec<u8>, Attributes>,
    /// The root before the upper layers, and after all layers.
    pub roots: (Node, Node),
    /// Hard links of the upper layers, and their targets.
    pub links: Vec<(Vec<u8>, Vec<u8>)>,
    /// Memory of this tree, counted in the budget.
    _share: Share,
}

impl Layers {
    /// Applies the layers of these names, lowest first. Changes by those numbered `above` and higher are recorded.
    pub(crate) fn overlay(self, names: &[String], above: usize) -> Result<FinalTree, ImageError> {
        let Self { changes, roots, mut share, .. } = self;
        let (mut laid, mut before) = (Overlay::default(), BTreeMap::new());
        let (mut left_out, mut lost) = (BTreeMap::new(), BTreeMap::new());
        let mut links = Vec::new();
        for (at, changes) in in_order(changes, names).enumerate() {
            let mut enough = Ok(());
            if at >= above {
                note_implied_dirs(&laid.tree, || changes.iter(), &mut left_out);
                drop_xattrs(&laid.tree, changes.iter(), &mut lost);
                links.extend(changes.iter().filter_map(|change| match change {
                    Change::HardLink(path, link) => Some((path.clone(), link.0.clone())),
                    _ => None,
                }));
            }
            laid.apply_layer(changes, &mut |path, node| {
                if at < above || enough.is_err() {
                    return;
                }
                if let BTreePlace::Vacant(place) = before.entry(path.to_vec()) {
                    enough = share.entry::<Node>(path.len());
                    place.insert(node.cloned());
                }
            })?;
            enough?;
        }
        let root = |layers: &[String]| {
            let last = layers.iter().rev().find_map(|name| roots.get(name));
            last.cloned().unwrap_or_else(implied_directory)
        };
        let roots = (root(&names[..above.min(names.len())]), root(names));
        Ok(FinalTree { tree: laid.tree, before, left_out, lost, roots, links, _share: share })
    }
}

/// Records the attributes that directories of `tree` lose when a layer recreates them.
fn drop_xattrs<'a>(tree: &Tree, changes: impl Iterator<Item = &'a Change<Node>>, lost: &mut BTreeMap<Vec<u8>, Attributes>) {
    for change in changes {
        let Change::Set(path, node) = change else { continue };
        let Some(lower) = tree.get(path).filter(|lower| lower.kind == Kind::Directory && node.kind == Kind::Directory) else {
            continue;
        };
        for (name, value) in lower.xattrs.iter().filter(|(name, _)| !node.xattrs.contains_key(*name)) {
            lost.entry(path.clone()).or_default().insert(name.clone(), value.clone());
        }
    }
}

/// Updates the set of directories of `tree` that a layer changes without an entry, and removes those that have one.
fn note_implied_dirs<'a, C: Iterator<Item = &'a Change<Node>>>(
    tree: &Tree,
    changes: impl Fn() -> C,
    left_out: &mut BTreeMap<Vec<u8>, Node>,
) {
    let directories: HashSet<&[u8]> = changes().filter_map(Change::directory_set).collect();
    left_out.retain(|path, _| !directories.contains(path.as_slice()));
    let mut last = None;
    for change in changes() {
        let directory = change.directory();
        if last.replace(directory) == Some(directory) {
            continue;
        }
        for way in ancestors(directory).filter(|way| !directories.contains(way)) {
            if let Some(node) = tree.get(way).filter(|node| **node != implied_directory()) {
                left_out.insert(way.to_vec(), node.clone());
            }
        }
    }
}

impl LayerSink for Layers {
    type Error = ImageError;

    fn entry(&mut self, layer: &str, entry: &TarEntry, content: &mut dyn Read) -> Result<(), ImageError> {
        if entry.kind == EntryType::Directory && plain_path(&entry.path)?.is_none() {
            self.roots.insert(layer.to_owned(), node(entry, Kind::Directory));
            return Ok(());
        }
        self.buffer.resize(BUFFER, 0);
        if let Some(change) = read_change(entry, content, &mut self.buffer)? {
            self.kept += 1;
            if self.kept > ENTRY_LIMIT {
                return Err(ImageError::Limit("entries of an image"));
            }
            let xattrs = entry.xattrs.iter().map(|(name, value)| name.len() + value.len() + OF_ATTRIBUTE).sum::<usize>();
            self.share.entry::<Change<Node>>(entry.path.len() + entry.link.len() + 2 * xattrs)?;
            add_change(&mut self.changes, layer, change);
        }
        Ok(())
    }
}

fn read_change(entry: &TarEntry, content: &mut dyn Read, buffer: &mut [u8]) -> Result<Option<Change<Node>>, ImageError> {
    let Some(path) = plain_path(&entry.path)? else { return Ok(None) };
    if let Some(marked) = Change::by_name(&path) {
        return Ok(Some(marked));
    }
    let (major, minor) = entry.device;
    let kind = match entry.kind {
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink if entry.link.is_empty() => return Err(LINK),
        EntryType::Symlink => Kind::Symlink(entry.link.clone()),
        EntryType::Char => Kind::Character(major, minor),
        EntryType::Block => Kind::Block(major, minor),
        EntryType::Fifo => Kind::Fifo,
        EntryType::Link => {
            let target = plain_path(&entry.link)?.ok_or(LINK)?;
            return Ok(Some(Change::HardLink(path, Box::new((target, node(entry, Kind::File([0; 32].into(), 0)))))));
        }
        _ => hash_content(content, buffer)?,
    };
    Ok(Some(Change::Set(path, node(entry, kind))))
}

fn node(entry: &TarEntry, kind: Kind) -> Node {
    let FileAttrs { mode, uid, gid, .. } = entry.meta;
    Node { kind, mode: mode & 0o7777, uid, gid, xattrs: entry.xattrs.clone() }
}

fn hash_content(content: &mut dyn Read, buffer: &mut [u8]) -> Result<Kind, ImageError> {
    let mut hasher = FileHasher::new();
    let mut len = 0;
    loop {
        match content.read(buffer).map_err(ImageError::from_io)? {
            0 => return Ok(Kind::File(hasher.finish(), len)),
            n => {
                hasher.update(&buffer[..n]);
                len += n as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use stationmaster_train::digest::Sha256Digest;

    use crate::{
        ImageError,
        filesystem::tree_digest::tree_digest,
        test_archives::{DIR, FILE, Item, saved, tar_of},
    };

    fn digests(layers: &[Vec<u8>]) -> Vec<String> {
        layers.iter().map(|layer| Sha256Digest::of(layer).to_string()).collect()
    }

    fn digest(layers: &[&[Item<'_>]]) -> Sha256Digest {
        let layers: Vec<Vec<u8>> = layers.iter().map(|entries| tar_of(entries)).collect();
        tree_digest(&saved(&layers, false)[..], Some(&digests(&layers)), |_| {}).unwrap().digest
    }

    #[test]
    fn layers_make_the_tree_a_container_sees() {
        let flat = digest(&[&[("a/", DIR, b""), ("a/new", FILE, b"2"), ("b", FILE, b"3")]]);
        let layered = digest(&[
            &[("a/", DIR, b""), ("a/old", FILE, b"1"), ("b", FILE, b"x"), ("gone/", DIR, b""), ("gone/x", FILE, b"")],
            &[("a/", DIR, b""), ("a/new", FILE, b"2"), ("a/.wh..wh..opq", FILE, b""), ("b", FILE, b"3"), (".wh.gone", FILE, b"")],
        ]);
        assert_eq!(flat, layered);
    }

    #[test]
    fn every_difference_changes_the_digest() {
        let tree = digest(&[&[("a", FILE, b"1"), ("b", FILE, b"2")]]);
        for other in [
            digest(&[&[("a", FILE, b"12"), ("b", FILE, b"")]]),
            digest(&[&[("a", FILE, b"1"), ("b", FILE, b"2"), ("c", FILE, b"")]]),
            digest(&[&[("a", FILE, b"1"), ("b/", DIR, b"")]]),
            digest(&[&[("a", FILE, b"1"), ("bb", FILE, b"2")]]),
        ] {
            assert_ne!(tree, other);
        }
    }

    #[test]
    fn what_is_no_image_archive_is_refused() {
        let no_manifest = tar_of(&[("0/layer.tar", FILE, b"")]);
        let climbing = [tar_of(&[("../x", FILE, b"")])];
        assert!(tree_digest(&saved(&climbing, false)[..], Some(&digests(&climbing)), |_| {}).is_err());
        for bad in [&no_manifest[..], &no_manifest[..700]] {
            assert!(tree_digest(bad, None, |_| {}).is_err());
        }
    }

    #[test]
    fn layers_that_are_not_those_the_engine_names_are_refused() {
        let layers = [tar_of(&[("a", FILE, b"1")]), tar_of(&[("b", FILE, b"2")])];
        let (archive, named) = (saved(&layers, false), digests(&layers));
        assert!(tree_digest(&archive[..], Some(&named), |_| {}).is_ok());
        let swapped = [named[1].clone(), named[0].clone()];
        for other in [&[][..], &named[..1], &swapped, &[named.clone(), named.clone()].concat()] {
            assert!(matches!(tree_digest(&archive[..], Some(other), |_| {}), Err(ImageError::Malformed(_))));
        }
    }
}
