//! Whether an image is its master with nothing but a train in it.
//!
//! The layers that the two share are settled by their digests; what the layers above do is held against what stood there before: type, content,
//! link target, mode, owner, extended attributes. So one pass over one image will do, and an entry that a layer writes again as it was is no
//! difference. The configuration is compared field by field.

mod config;
mod train_lib;

use std::{collections::BTreeMap, io::Read};

use super::{
    ImageError,
    place::Place,
    saved::{Change, Entry, LayerSink, SavedImage},
    tree::{Kind, Layers, Node},
};

pub use config::compare as compare_configs;
pub use train_lib::{Seen, Verdict as TrainLibVerdict};

/// Most differences that are kept; the rest is counted.
const KEPT: usize = 1000;

/// What an image is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageRule {
    /// Its layers begin with the master's.
    LayersOfMaster,
    /// What the layers above change is the train's alone.
    FileTree,
    /// Its configuration is the master's, but for the command and labels.
    ImageConfig,
    /// Its command is a program with plain arguments.
    CommandShape,
}

impl ImageRule {
    /// Every one, in the order of reports.
    pub const ALL: [Self; 4] = [Self::LayersOfMaster, Self::FileTree, Self::ImageConfig, Self::CommandShape];

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LayersOfMaster => "layers-of-master",
            Self::FileTree => "file-tree",
            Self::ImageConfig => "image-config",
            Self::CommandShape => "command-shape",
        }
    }
}

/// One difference between an image and its master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The rule that it breaks.
    pub rule: ImageRule,
    /// What differs: `added`, `removed`, `type`, `content`, `link-target`, `device`, `mode`, `owner`, `xattrs`, `config`.
    pub what: &'static str,
    /// A path from the image's root, as untrusted as it comes, or a field of the configuration.
    pub place: Vec<u8>,
    /// What the master has.
    pub expected: String,
    /// What the image has.
    pub found: String,
}

impl Difference {
    fn of_tree(what: &'static str, path: &[u8], expected: String, found: String) -> Self {
        Self { rule: ImageRule::FileTree, what, place: path.to_vec(), expected, found }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Differences {
    /// At most 1000.
    pub kept: Vec<Difference>,
    /// How many there are, by rule.
    counts: [u64; ImageRule::ALL.len()],
}

impl Differences {
    /// Adds one.
    pub fn add(&mut self, difference: Difference) {
        self.counts[difference.rule as usize] += 1;
        if self.kept.len() < KEPT {
            self.kept.push(difference);
        }
    }

    /// Adds those of another look, as far as they can be kept.
    pub fn append(&mut self, others: Self) {
        self.counts.iter_mut().zip(others.counts).for_each(|(count, more)| *count += more);
        let room = KEPT - self.kept.len();
        self.kept.extend(others.kept.into_iter().take(room));
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many break a rule.
    #[must_use]
    pub fn breaking(&self, rule: ImageRule) -> u64 {
        self.counts[rule as usize]
    }
}

/// What a train may have of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    /// A directory with anything below it.
    Directory,
    /// What lies in one of them.
    Inside,
    /// A regular file.
    File,
}

/// Paths end at a slash: `opt/pht_train_evil` is none of the train's.
fn own(path: &[u8]) -> Option<Own> {
    match path.strip_prefix(b"opt/")? {
        b"pht_train" | b"pht_results" => Some(Own::Directory),
        b"train_config.json" | b"user_sym_key.key" => Some(Own::File),
        below if below.starts_with(b"pht_train/") || below.starts_with(b"pht_results/") => Some(Own::Inside),
        _ => None,
    }
}

/// Reads an image for what its files say of it. Its layers are read to prove their digests.
pub fn describe(place: Place<'_>) -> Result<SavedImage, ImageError> {
    struct Nothing;
    impl LayerSink for Nothing {
        type Error = ImageError;
        fn entry(&mut self, _: &str, _: &Entry, _: &mut dyn Read) -> Result<(), ImageError> {
            Ok(())
        }
    }
    place.read(None, &mut Nothing, |_| {})
}

/// What train_lib sees of an image. Where the engine names the image's layers, they must be those.
pub fn seen(place: Place<'_>, layers: Option<&[String]>) -> Result<Seen, ImageError> {
    let mut read = Layers::default();
    let image = place.read(layers, &mut read, |_| {})?;
    Ok(Seen::of(&read, &image))
}

/// Reads an image, and holds what the layers above the lowest `shared` do against what is below. Where the engine names the image's layers, they
/// must be those. `seen` gets what train_lib would see.
pub fn compare_trees(
    place: Place<'_>,
    layers: Option<&[String]>,
    shared: impl FnOnce(&SavedImage) -> usize,
    seen: Option<&mut Seen>,
    progress: impl FnMut(u64),
) -> Result<(Differences, SavedImage), ImageError> {
    let mut read = Layers::default();
    let image = place.read(layers, &mut read, progress)?;
    if let Some(seen) = seen {
        *seen = Seen::of(&read, &image);
    }
    let shared = shared(&image);
    let overlaid = read.overlay(&image.layers, shared)?;
    let mut found = Differences::default();
    for (path, before) in &overlaid.before {
        judge(path, before.as_ref(), overlaid.tree.get(path), &mut found);
    }
    for (path, node) in overlaid.left_out.iter().filter(|(path, _)| own(path).is_none()) {
        let made_anew = "root's, mode 0755, in some engines: a layer does something in it and leaves it out";
        found.add(Difference::of_tree(
            if node.mode == 0o755 { "owner" } else { "mode" },
            path,
            shown(node),
            made_anew.to_owned(),
        ));
    }
    for (path, target) in
        above(&read, &image.layers, shared).filter(|(path, target)| own(path).is_some() != own(target).is_some())
    {
        let link = format!("another name of {}", target.escape_ascii());
        found.add(Difference::of_tree("type", path, "a file of its own".to_owned(), link));
    }
    Ok((found, image))
}

/// Hard links of the layers above the lowest `shared`, and what they lead to.
fn above<'a>(read: &'a Layers, names: &'a [String], shared: usize) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    let changes = names.iter().skip(shared).filter_map(|name| read.changes.get(name)).flatten();
    changes.filter_map(|change| match change {
        Change::HardLink(path, target, _) => Some((path.as_slice(), target.as_slice())),
        _ => None,
    })
}

fn judge(path: &[u8], before: Option<&Node>, after: Option<&Node>, found: &mut Differences) {
    let mut differ = |what, expected, is| found.add(Difference::of_tree(what, path, expected, is));
    match own(path) {
        Some(place) => {
            if let Some(node) = after
                && let Some(allowed) = stranger(place, node)
            {
                differ("type", allowed.to_owned(), shown(node));
            }
            return;
        }
        // A master need not have the directory that trains lie in.
        None if path == b"opt" && before.is_none() && after.is_some_and(is_plain_directory) => return,
        None => {}
    }
    match (before, after) {
        (None, None) => {}
        (None, Some(after)) => differ("added", "nothing".to_owned(), shown(after)),
        (Some(before), None) => differ("removed", shown(before), "nothing".to_owned()),
        (Some(before), Some(after)) => {
            match (&before.kind, &after.kind) {
                (one, other) if one == other => {}
                (Kind::File(..), Kind::File(..)) => differ("content", shown(before), shown(after)),
                (Kind::Symlink(_), Kind::Symlink(_)) => differ("link-target", shown(before), shown(after)),
                (Kind::Character(..), Kind::Character(..)) | (Kind::Block(..), Kind::Block(..)) => {
                    differ("device", shown(before), shown(after));
                }
                _ => differ("type", shown(before), shown(after)),
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
    }
}

/// What may stand at a path of the train's, where something else does.
fn stranger(place: Own, node: &Node) -> Option<&'static str> {
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
    node.kind == Kind::Directory && node.mode == 0o755 && (node.uid, node.gid) == (0, 0) && node.xattrs.is_empty()
}

fn shown(node: &Node) -> String {
    let mode = node.mode;
    match &node.kind {
        Kind::Directory => format!("a directory, mode {mode:04o}"),
        Kind::File(digest, len) => format!("a file of {len} bytes, mode {mode:04o}, sha256:{}", const_hex::encode(digest)),
        Kind::Symlink(target) => format!("a link to {}", target.escape_ascii()),
        Kind::Character(major, minor) => format!("a character device {major}:{minor}"),
        Kind::Block(major, minor) => format!("a block device {major}:{minor}"),
        Kind::Fifo => "a pipe".to_owned(),
    }
}

fn attributes(xattrs: &BTreeMap<Vec<u8>, Vec<u8>>) -> String {
    let all: Vec<String> =
        xattrs.iter().map(|(name, value)| format!("{}={}", name.escape_ascii(), const_hex::encode(value))).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(" ") }
}

#[cfg(test)]
mod tests;
