//! Layers of a `docker save` archive, hashed as they stream and laid over each other at the end.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Read},
};

use serde::Deserialize;
use tar::{Archive, EntryType};

use super::canonical::{Kind, Node, Tree};
use crate::{
    image::{
        ImageError,
        entries::{Entries, Head},
        opt::broken,
    },
    train::digest::FileHasher,
};

/// Most entries that are kept, all layers together.
const ENTRY_LIMIT: usize = 4_000_000;
/// Longest manifest that is read, in bytes.
const MANIFEST_LIMIT: u64 = 4 * 1024 * 1024;
/// The name that marks a removed path.
const WHITEOUT: &[u8] = b".wh.";
/// The name that marks a directory whose lower content is hidden.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// An entry of a layer.
enum Change {
    Set(Vec<u8>, Node),
    HardLink(Vec<u8>, Vec<u8>),
    Remove(Vec<u8>),
    Opaque(Vec<u8>),
}

#[derive(Deserialize)]
struct ManifestImage {
    #[serde(rename = "Layers")]
    layers: Vec<String>,
}

/// A layer's file that is hashed while it is read.
struct Hashed<R> {
    file: R,
    hasher: FileHasher,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

/// Reads the archive of one image and lays its layers over each other. They must be those of `expected`, digests of their
/// archives, lowest first.
pub(super) fn read_saved(archive: impl Read, expected: &[String], mut progress: impl FnMut(u64)) -> Result<Tree, ImageError> {
    let mut layers: HashMap<String, (String, Vec<Change>)> = HashMap::new();
    let mut links: HashMap<String, String> = HashMap::new();
    let mut manifest = None;
    let (mut kept, mut read) = (0, 0);
    let mut archive = Archive::new(archive);
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let name =
            String::from_utf8(entry.path_bytes().into_owned()).map_err(|_| ImageError::Malformed("a name that is not UTF-8"))?;
        read += entry.size();
        match entry.header().entry_type() {
            EntryType::Regular if name == "manifest.json" => {
                if entry.size() > MANIFEST_LIMIT {
                    return Err(ImageError::Limit("bytes of manifest.json"));
                }
                let images: Vec<ManifestImage> =
                    serde_json::from_reader(&mut entry).map_err(|_| ImageError::Malformed("manifest.json"))?;
                manifest = images.into_iter().next();
            }
            EntryType::Regular if name.ends_with("/layer.tar") || name.starts_with("blobs/") => {
                if let Some(layer) = read_layer(&mut entry, &mut kept)? {
                    layers.insert(name, layer);
                }
            }
            // Old engines write a layer that occurs twice as a link to its first place.
            EntryType::Symlink => {
                if let Some(target) = entry.link_name_bytes() {
                    let target = String::from_utf8_lossy(&target).trim_start_matches("../").to_owned();
                    links.insert(name, target);
                }
            }
            _ => {}
        }
        progress(read);
    }
    let manifest = manifest.ok_or(ImageError::Malformed("no manifest.json"))?;
    if manifest.layers.len() != expected.len() {
        return Err(NOT_ITS_LAYERS);
    }
    let mut tree = Tree::new();
    for (name, expected) in manifest.layers.iter().zip(expected) {
        let (digest, changes) = layers
            .get(name)
            .or_else(|| layers.get(links.get(name)?))
            .ok_or(ImageError::Malformed("a layer of the manifest is missing"))?;
        if digest != expected {
            return Err(NOT_ITS_LAYERS);
        }
        apply(&mut tree, changes)?;
    }
    Ok(tree)
}

const NOT_ITS_LAYERS: ImageError = ImageError::Malformed("its layers are not those that the engine names");

/// Reads a layer, and answers its digest too; `None` when the file is no tar archive (a configuration among the blobs).
fn read_layer(file: &mut impl Read, kept: &mut usize) -> Result<Option<(String, Vec<Change>)>, ImageError> {
    let mut start = Vec::with_capacity(512);
    file.take(512).read_to_end(&mut start).map_err(broken)?;
    let is_tar = start.len() == 512 && (&start[257..262] == b"ustar" || start.iter().all(|byte| *byte == 0));
    if !is_tar {
        if start.starts_with(&[0x1f, 0x8b]) || start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            return Err(ImageError::Malformed("a compressed layer"));
        }
        return Ok(None);
    }
    let mut file = Hashed { file: start.as_slice().chain(file), hasher: FileHasher::new() };
    let mut changes = Vec::new();
    let mut entries = Entries::of_layer(&mut file);
    while let Some(head) = entries.next()? {
        if let Some(change) = read_change(head, &mut entries)? {
            changes.push(change);
            *kept += 1;
            if *kept > ENTRY_LIMIT {
                return Err(ImageError::Limit("entries of an image"));
            }
        }
    }
    io::copy(&mut file, &mut io::sink()).map_err(broken)?;
    Ok(Some((format!("sha256:{}", const_hex::encode(file.hasher.finish())), changes)))
}

fn read_change(head: Head, content: &mut impl Read) -> Result<Option<Change>, ImageError> {
    let Some(path) = plain_path(&head.path)? else { return Ok(None) };
    let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[][..], &path[..]),
    };
    if name == OPAQUE {
        return Ok(Some(Change::Opaque(parent.to_vec())));
    }
    if let Some(removed) = name.strip_prefix(WHITEOUT) {
        // `.wh..wh.…` are the storage driver's own notes.
        if removed.starts_with(WHITEOUT) {
            return Ok(None);
        }
        let slash: &[u8] = if parent.is_empty() { b"" } else { b"/" };
        return Ok(Some(Change::Remove([parent, slash, removed].concat())));
    }
    let target = || head.target.clone().ok_or(ImageError::Malformed("a link without a target"));
    let (major, minor) = head.device;
    let kind = match head.kind {
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink(target()?),
        EntryType::Char => Kind::Character(major, minor),
        EntryType::Block => Kind::Block(major, minor),
        EntryType::Fifo => Kind::Fifo,
        EntryType::Link => {
            let target = plain_path(&target()?)?.ok_or(ImageError::Malformed("a link to the root"))?;
            return Ok(Some(Change::HardLink(path, target)));
        }
        // The reader lets nothing else through.
        _ => hash_content(content)?,
    };
    let xattrs = head.xattrs.into_iter().collect();
    Ok(Some(Change::Set(path, Node { kind, mode: head.mode, uid: head.uid, gid: head.gid, xattrs })))
}

fn hash_content(entry: &mut impl Read) -> Result<Kind, ImageError> {
    let mut hasher = FileHasher::new();
    let mut buffer = [0; 64 * 1024];
    let mut len = 0;
    loop {
        match entry.read(&mut buffer).map_err(broken)? {
            0 => return Ok(Kind::File(hasher.finish(), len)),
            n => {
                hasher.update(&buffer[..n]);
                len += n as u64;
            }
        }
    }
}

/// A path without `./` and slashes around it; `None` for the root. Climbing paths are refused.
fn plain_path(path: &[u8]) -> Result<Option<Vec<u8>>, ImageError> {
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    if parts.contains(&&b".."[..]) {
        return Err(ImageError::Malformed("a path that climbs"));
    }
    Ok((!parts.is_empty()).then(|| parts.join(&b'/')))
}

fn apply(tree: &mut Tree, changes: &[Change]) -> Result<(), ImageError> {
    // A whiteout is about lower layers, wherever it stands in its own.
    for change in changes {
        match change {
            Change::Remove(path) => {
                tree.remove(path);
                remove_below(tree, path);
            }
            Change::Opaque(path) => remove_below(tree, path),
            _ => {}
        }
    }
    for change in changes {
        let (path, node) = match change {
            Change::Set(path, node) => (path, node.clone()),
            Change::HardLink(path, target) => {
                (path, tree.get(target).cloned().ok_or(ImageError::Malformed("a hard link to nothing"))?)
            }
            _ => continue,
        };
        add_parents(tree, path);
        if node.kind != Kind::Directory && tree.get(path).is_some_and(|old| old.kind == Kind::Directory) {
            remove_below(tree, path);
        }
        tree.insert(path.clone(), node);
    }
    Ok(())
}

/// Directories that a layer leaves out exist all the same, as the engine makes them: root's, 0755.
fn add_parents(tree: &mut Tree, path: &[u8]) {
    for (i, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
        tree.entry(path[..i].to_vec()).or_insert_with(|| Node {
            kind: Kind::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            xattrs: BTreeMap::new(),
        });
    }
}

fn remove_below(tree: &mut Tree, path: &[u8]) {
    if path.is_empty() {
        tree.clear();
        return;
    }
    // All paths below are between "path/" and "path0": '0' follows '/'.
    let (from, to) = ([path, b"/"].concat(), [path, b"0"].concat());
    let below: Vec<Vec<u8>> = tree.range(from..to).map(|(path, _)| path.clone()).collect();
    for path in below {
        tree.remove(&path);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tree_digest, *};
    use crate::image::layer::{Meta, header_blocks};

    fn tar_of(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (path, kind, content) in entries {
            out.extend(header_blocks(path, *kind, Meta::immutable_file(1), content.len() as u64));
            out.extend(*content);
            out.resize(out.len().next_multiple_of(512), 0);
        }
        out.resize(out.len() + 1024, 0);
        out
    }

    fn saved(layers: &[Vec<u8>]) -> Vec<u8> {
        let names: Vec<String> = (0..layers.len()).map(|i| format!("{i}/layer.tar")).collect();
        let manifest = serde_json::json!([{ "Config": "c.json", "RepoTags": null, "Layers": names }]).to_string();
        let mut entries: Vec<(&str, EntryType, &[u8])> =
            names.iter().zip(layers).map(|(name, layer)| (name.as_str(), EntryType::Regular, layer.as_slice())).collect();
        entries.push(("manifest.json", EntryType::Regular, manifest.as_bytes()));
        tar_of(&entries)
    }

    fn digests(layers: &[Vec<u8>]) -> Vec<String> {
        layers.iter().map(|layer| format!("sha256:{}", const_hex::encode(openssl::sha::sha256(layer)))).collect()
    }

    const FILE: EntryType = EntryType::Regular;
    const DIR: EntryType = EntryType::Directory;

    fn digest(layers: &[&[(&str, EntryType, &[u8])]]) -> [u8; 32] {
        let layers: Vec<Vec<u8>> = layers.iter().map(|entries| tar_of(entries)).collect();
        tree_digest(&saved(&layers)[..], &digests(&layers), |_| {}).unwrap().digest
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
        assert!(tree_digest(&saved(&climbing)[..], &digests(&climbing), |_| {}).is_err());
        for bad in [&no_manifest[..], &no_manifest[..700]] {
            assert!(tree_digest(bad, &[], |_| {}).is_err());
        }
    }

    #[test]
    fn layers_that_are_not_those_the_engine_names_are_refused() {
        let layers = [tar_of(&[("a", FILE, b"1")]), tar_of(&[("b", FILE, b"2")])];
        let (archive, named) = (saved(&layers), digests(&layers));
        assert!(tree_digest(&archive[..], &named, |_| {}).is_ok());
        let swapped = [named[1].clone(), named[0].clone()];
        for other in [&[][..], &named[..1], &swapped, &[named.clone(), named.clone()].concat()] {
            assert!(matches!(tree_digest(&archive[..], other, |_| {}), Err(ImageError::Malformed(_))));
        }
    }
}
