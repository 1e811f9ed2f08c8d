//! Refuses layers that mean one thing to one engine and something else to another.
//!
//! By OCI's layer.md whiteouts act on lower layers only, wherever they stand. Engines read a layer front to back: overlay2 into a directory of its
//! own, where a whiteout is a device until something takes its place, and vfs into a copy of the tree below. So the two agree with each other and
//! with us only as long as a layer does not bring what it removes, nor put anything below what is no directory. Writers of layers do neither.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::overlay::{Change, Node};
use crate::image::ImageError;

/// What a layer does, by path.
#[derive(Default)]
struct Done<'a> {
    /// What it brings, and whether that is a directory.
    brings: HashMap<&'a [u8], bool>,
    removes: HashSet<&'a [u8]>,
}

/// Looks at a layer before it is laid over a tree.
pub(super) fn check<N: Node>(tree: &BTreeMap<Vec<u8>, N>, changes: &[Change<N>]) -> Result<(), ImageError> {
    let mut done = Done::default();
    for change in changes {
        match change {
            Change::Set(path, node) => done.bring(path, node.is_directory())?,
            Change::HardLink(path, ..) => done.bring(path, false)?,
            Change::Remove(path) if done.brings.contains_key(path.as_slice()) => return Err(REMOVES_WHAT_IT_BRINGS),
            Change::Remove(path) => drop(done.removes.insert(path)),
            Change::Opaque(_) => {}
        }
    }
    let mut last = None;
    for change in changes {
        let directory = change.directory();
        // Neighbours lie in one directory.
        if last.replace(directory) != Some(directory) {
            ways(directory).try_for_each(|way| done.lets_through(tree, way))?;
        }
    }
    Ok(())
}

const REMOVES_WHAT_IT_BRINGS: ImageError = ImageError::Malformed("a layer that removes what it brings: engines differ");

impl<'a> Done<'a> {
    fn bring(&mut self, path: &'a [u8], is_directory: bool) -> Result<(), ImageError> {
        // A file in a whiteout's place hides what is lower all the same; a new directory shows it again to some.
        if is_directory && self.removes.contains(path) {
            return Err(REMOVES_WHAT_IT_BRINGS);
        }
        match self.brings.insert(path, is_directory) {
            Some(before) if before != is_directory => {
                Err(ImageError::Malformed("a path that is a directory and something else in one layer: engines differ"))
            }
            _ => Ok(()),
        }
    }

    /// Whether something can be at or below `way`.
    fn lets_through<N: Node>(&self, tree: &BTreeMap<Vec<u8>, N>, way: &[u8]) -> Result<(), ImageError> {
        if self.removes.contains(way) {
            return Err(REMOVES_WHAT_IT_BRINGS);
        }
        let brought = self.brings.get(way).copied();
        match brought.or_else(|| tree.get(way).map(Node::is_directory)) {
            Some(false) => Err(ImageError::Malformed("a layer that puts something below what is no directory: engines differ")),
            _ => Ok(()),
        }
    }
}

/// A path and all that it lies in, outermost first; nothing for the root.
pub(in crate::image) fn ways(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    slashes.chain((!path.is_empty()).then_some(path.len())).map(|end| &path[..end])
}
