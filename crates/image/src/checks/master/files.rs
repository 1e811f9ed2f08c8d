//! Compares the files changed by the layers above a master's with the master's files.

use super::{Difference, Differences};
use crate::filesystem::{
    canonical::{Attributes, Kind, Node},
    layers::{FinalTree, implied_directory},
};

/// Kinds of entries that a train may add.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    /// A directory with any content.
    Directory,
    /// An entry inside such a directory.
    Inside,
    /// A regular file.
    File,
}

/// Returns the kind of a train's path. Paths end at a slash: `opt/pht_train_evil` is not a train's.
fn train_entry(path: &[u8]) -> Option<Own> {
    match path.strip_prefix(b"opt/")? {
        b"pht_train" | b"pht_results" => Some(Own::Directory),
        b"train_config.json" | b"user_sym_key.key" => Some(Own::File),
        below if below.starts_with(b"pht_train/") || below.starts_with(b"pht_results/") => Some(Own::Inside),
        _ => None,
    }
}

/// Compares the changes of upper layers with the previous entries.
pub(super) fn compare(overlaid: &FinalTree) -> Differences {
    let mut found = Differences::default();
    for (path, before) in &overlaid.before {
        record_difference(path, before.as_ref(), overlaid.tree.get(path), &mut found);
    }
    compare_nodes(b"/", &overlaid.roots.0, &overlaid.roots.1, &mut found);
    // Layers of stations omit `/opt` too; this gives rights in it to root only.
    let is_trains = |path: &[u8]| train_entry(path).is_some() || path == b"opt";
    for (path, node) in overlaid.left_out.iter().filter(|(path, _)| !is_trains(path)) {
        compare_nodes(path, node, &implied_directory(), &mut found);
    }
    for (path, lost) in &overlaid.lost {
        let masters = overlaid.before.get(path).and_then(Option::as_ref).map(|node| node.xattrs.clone()).unwrap_or_default();
        let left: Attributes =
            lost.iter().filter(|one| masters.get(one.0) != Some(one.1)).map(|(n, v)| (n.clone(), v.clone())).collect();
        if !left.is_empty() {
            found.add(Difference::of_tree("xattrs", path, attributes(&masters), attributes(&left)));
        }
    }
    for (path, target) in
        overlaid.links.iter().filter(|(path, target)| train_entry(path).is_some() != train_entry(target).is_some())
    {
        let link = format!("another name of {}", target.escape_ascii());
        found.add(Difference::of_tree("type", path, "a file of its own".to_owned(), link));
    }
    found
}

fn record_difference(path: &[u8], before: Option<&Node>, after: Option<&Node>, found: &mut Differences) {
    let mut differ = |what, expected, is| found.add(Difference::of_tree(what, path, expected, is));
    match train_entry(path) {
        Some(place) => {
            if let Some(node) = after
                && let Some(allowed) = unexpected(place, node)
            {
                differ("type", allowed.to_owned(), display(node));
            }
            return;
        }
        // A master need not have the directory that contains trains.
        None if path == b"opt" && before.is_none() && after.is_some_and(is_plain_directory) => return,
        None => {}
    }
    match (before, after) {
        (None, None) => {}
        (None, Some(after)) => differ("added", "nothing".to_owned(), display(after)),
        (Some(before), None) => differ("removed", display(before), "nothing".to_owned()),
        (Some(before), Some(after)) => compare_nodes(path, before, after, found),
    }
}

fn compare_nodes(path: &[u8], before: &Node, after: &Node, found: &mut Differences) {
    let mut differ = |what, expected, is| found.add(Difference::of_tree(what, path, expected, is));
    match (&before.kind, &after.kind) {
        (one, other) if one == other => {}
        (Kind::File(..), Kind::File(..)) => differ("content", display(before), display(after)),
        (Kind::Symlink(_), Kind::Symlink(_)) => differ("link-target", display(before), display(after)),
        (Kind::Character(..), Kind::Character(..)) | (Kind::Block(..), Kind::Block(..)) => {
            differ("device", display(before), display(after));
        }
        _ => differ("type", display(before), display(after)),
    }
    if before.mode != after.mode {
        differ("mode", format!("{:04o}", before.mode), format!("{:04o}", after.mode));
    }
    if (before.uid, before.gid) != (after.uid, after.gid) {
        differ("owner", format!("{}:{}", before.uid, before.gid), format!("{}:{}", after.uid, after.gid));
    }
    if before.xattrs != after.xattrs {
        differ("xattrs", attributes(&before.xattrs), attributes(&after.xattrs));
    }
}

/// Returns the reason why a node is not allowed at a train's path.
fn unexpected(place: Own, node: &Node) -> Option<&'static str> {
    const SET_ID: u32 = 0o6000;
    let is_plain = node.mode & SET_ID == 0 && node.xattrs.is_empty();
    match (place, &node.kind) {
        (Own::Directory | Own::Inside, Kind::Directory) if is_plain => None,
        (Own::Inside | Own::File, Kind::File(..)) if is_plain => None,
        (Own::Directory, _) => Some("a plain directory"),
        (Own::File, _) => Some("a plain file"),
        (Own::Inside, _) => Some("a plain file or directory"),
    }
}

fn is_plain_directory(node: &Node) -> bool {
    *node == implied_directory()
}

fn display(node: &Node) -> String {
    let mode = node.mode;
    match &node.kind {
        Kind::Directory => format!("a directory, mode {mode:04o}"),
        Kind::File(digest, len) => format!("a file of {len} bytes, mode {mode:04o}, {digest}"),
        Kind::Symlink(target) => format!("a link to {}", target.escape_ascii()),
        Kind::Character(major, minor) => format!("a character device {major}:{minor}"),
        Kind::Block(major, minor) => format!("a block device {major}:{minor}"),
        Kind::Fifo => "a pipe".to_owned(),
    }
}

fn attributes(xattrs: &Attributes) -> String {
    let all: Vec<String> =
        xattrs.iter().map(|(name, value)| format!("{}={}", name.escape_ascii(), const_hex::encode(value))).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(" ") }
}
