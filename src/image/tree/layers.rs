//! Layers of a `docker save` archive, hashed as they stream and laid over each other at the end.

use std::{
    collections::{BTreeMap, HashMap},
    io::Read,
};

use serde::Deserialize;
use tar::{Archive, Entry, EntryType};

use super::canonical::{Kind, Node, Tree};
use crate::{
    image::{ImageError, bounded::bounded, opt::broken},
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
/// Extended attributes in PAX headers begin so.
const XATTR: &str = "SCHILY.xattr.";

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

/// Reads the archive of one image and lays its layers over each other.
pub(super) fn read_saved(archive: impl Read, mut progress: impl FnMut(u64)) -> Result<Tree, ImageError> {
    let mut layers: HashMap<String, Vec<Change>> = HashMap::new();
    let mut links: HashMap<String, String> = HashMap::new();
    let mut manifest = None;
    let (mut kept, mut read) = (0, 0);
    let (archive, bound) = bounded(archive);
    let mut archive = Archive::new(archive);
    let mut entries = archive.entries().map_err(broken)?;
    while let Some(mut entry) = bound.next(&mut entries)? {
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
                if let Some(changes) = read_layer(&mut entry, &mut kept)? {
                    layers.insert(name, changes);
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
    let mut tree = Tree::new();
    for name in &manifest.layers {
        let changes = layers
            .get(name)
            .or_else(|| layers.get(links.get(name)?))
            .ok_or(ImageError::Malformed("a layer of the manifest is missing"))?;
        apply(&mut tree, changes)?;
    }
    Ok(tree)
}

/// Reads a layer; `None` when the file is no tar archive (a configuration among the blobs).
fn read_layer(file: &mut impl Read, kept: &mut usize) -> Result<Option<Vec<Change>>, ImageError> {
    let mut start = Vec::with_capacity(512);
    file.take(512).read_to_end(&mut start).map_err(broken)?;
    let is_tar = start.len() == 512 && (&start[257..262] == b"ustar" || start.iter().all(|byte| *byte == 0));
    if !is_tar {
        if start.starts_with(&[0x1f, 0x8b]) || start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            return Err(ImageError::Malformed("a compressed layer"));
        }
        return Ok(None);
    }
    let mut changes = Vec::new();
    let (layer, bound) = bounded(start.as_slice().chain(file));
    let mut layer = Archive::new(layer);
    let mut entries = layer.entries().map_err(broken)?;
    while let Some(mut entry) = bound.next(&mut entries)? {
        if let Some(change) = read_change(&mut entry)? {
            changes.push(change);
            *kept += 1;
            if *kept > ENTRY_LIMIT {
                return Err(ImageError::Limit("entries of an image"));
            }
        }
    }
    Ok(Some(changes))
}

fn read_change(entry: &mut Entry<'_, impl Read>) -> Result<Option<Change>, ImageError> {
    let Some(path) = plain_path(&entry.path_bytes())? else { return Ok(None) };
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
    let header = entry.header();
    let number = || ImageError::Malformed("a number in a header");
    let (mode, uid, gid) =
        (header.mode().map_err(|_| number())? & 0o7777, header.uid().map_err(|_| number())?, header.gid().map_err(|_| number())?);
    let device = (header.device_major().ok().flatten().unwrap_or(0), header.device_minor().ok().flatten().unwrap_or(0));
    let kind = match header.entry_type() {
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink(link_name(entry)?),
        EntryType::Char => Kind::Character(device.0, device.1),
        EntryType::Block => Kind::Block(device.0, device.1),
        EntryType::Fifo => Kind::Fifo,
        EntryType::Link => {
            let target = plain_path(&link_name(entry)?)?.ok_or(ImageError::Malformed("a link to the root"))?;
            return Ok(Some(Change::HardLink(path, target)));
        }
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File([0; 32], 0),
        EntryType::XGlobalHeader => return Ok(None),
        _ => return Err(ImageError::Malformed("an entry of unknown type")),
    };
    let xattrs = read_xattrs(entry)?;
    let kind = if matches!(kind, Kind::File(..)) { hash_content(entry)? } else { kind };
    Ok(Some(Change::Set(path, Node { kind, mode, uid, gid, xattrs })))
}

fn read_xattrs(entry: &mut Entry<'_, impl Read>) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, ImageError> {
    let mut xattrs = BTreeMap::new();
    for extension in entry.pax_extensions().map_err(broken)?.into_iter().flatten() {
        let extension = extension.map_err(broken)?;
        if let Some(name) = extension.key_bytes().strip_prefix(XATTR.as_bytes()) {
            xattrs.insert(name.to_vec(), extension.value_bytes().to_vec());
        }
    }
    Ok(xattrs)
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

fn link_name(entry: &Entry<'_, impl Read>) -> Result<Vec<u8>, ImageError> {
    entry.link_name_bytes().map(|name| name.into_owned()).ok_or(ImageError::Malformed("a link without a target"))
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

    const FILE: EntryType = EntryType::Regular;
    const DIR: EntryType = EntryType::Directory;

    fn digest(layers: &[&[(&str, EntryType, &[u8])]]) -> [u8; 32] {
        let layers: Vec<Vec<u8>> = layers.iter().map(|entries| tar_of(entries)).collect();
        tree_digest(&saved(&layers)[..], |_| {}).unwrap().digest
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
        let climbing = saved(&[tar_of(&[("../x", FILE, b"")])]);
        for bad in [&no_manifest[..], &climbing, &no_manifest[..700]] {
            assert!(tree_digest(bad, |_| {}).is_err());
        }
    }
}
