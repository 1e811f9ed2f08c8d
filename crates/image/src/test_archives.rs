//! Builds tar archives for unit tests.

use tar::EntryType;

use super::tar::header_writer::header_blocks;
use crate::tar::entry::FileAttrs;

pub(super) const FILE: EntryType = EntryType::Regular;
pub(super) const DIR: EntryType = EntryType::Directory;

/// An entry: path, kind, content.
pub(super) type Item<'a> = (&'a str, EntryType, &'a [u8]);

/// Returns an archive of these entries, with its end.
pub(super) fn tar_of(entries: &[Item<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (path, kind, content) in entries {
        let meta = if *kind == DIR { FileAttrs::directory(1) } else { FileAttrs::immutable_file(1) };
        out.extend(header_blocks(path, *kind, meta, content.len() as u64));
        out.extend(*content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

/// Returns an extended header with these records, for the next entry.
pub(super) fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut content = Vec::new();
    for (keyword, value) in records {
        let rest = keyword.len() + value.len() + 3;
        let mut length = rest;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        content.extend(format!("{length} {keyword}=").bytes());
        content.extend(*value);
        content.push(b'\n');
    }
    let mut out = header_blocks("x", EntryType::XHeader, FileAttrs::immutable_file(1), content.len() as u64);
    out.extend(content);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

/// Returns a `docker save` archive of these layers, lowest first, in the layout of old engines or (`blobs`) of new ones. Its files
/// are in reverse order, so that only the manifest shows the layers' order.
pub(super) fn saved(layers: &[Vec<u8>], blobs: bool) -> Vec<u8> {
    let name = |at: usize| match blobs {
        true => format!("blobs/sha256/{}", const_hex::encode(openssl::sha::sha256(&layers[at]))),
        false => format!("{at:064x}/layer.tar"),
    };
    let names: Vec<String> = (0..layers.len()).map(name).collect();
    let manifest = serde_json::json!([{ "Config": "c.json", "RepoTags": null, "Layers": names }]).to_string();
    let mut entries: Vec<Item<'_>> =
        names.iter().zip(layers).rev().map(|(name, layer)| (name.as_str(), FILE, layer.as_slice())).collect();
    entries.push(("manifest.json", FILE, manifest.as_bytes()));
    tar_of(&entries)
}
