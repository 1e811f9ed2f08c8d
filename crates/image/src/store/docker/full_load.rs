//! Writes an image with all its layers, for engines that do not accept an archive with only the new layer.
//!
//! This is slower: the parent's layers are read from the engine and sent back. The entries of `docker save` are copied one by
//! one, under headers generated here, so only the content of files is copied unread.

use std::{
    collections::HashMap,
    io::{Read, Write},
};

use serde::Deserialize;
use serde_json::{Value, json};
use stationmaster_train::digest::FileHasher;
use tar::EntryType;

use crate::{
    ImageError,
    oci::image_config::ImageMetadata,
    tar::{
        entry::FileAttrs,
        header_writer::{header_blocks, link_blocks},
        layer_writer::output_error,
        reader::{TarEntry, TarReader},
    },
};

/// Files that are generated here, about the new image.
const REPLACED: [&str; 4] = ["manifest.json", "repositories", "index.json", "oci-layout"];
/// Maximum size of a manifest that is read, in bytes.
const MANIFEST_LIMIT: u64 = 4 * 1024 * 1024;
/// Maximum number of entries that are copied: an image has at most some hundred layers, each with a few files.
const ENTRY_LIMIT: usize = 10_000;
/// Maximum length of a name that is copied, in bytes.
const NAME_LIMIT: usize = 255;
/// Maximum length of a link's target, in bytes: the size of its header's field.
const LINK_LIMIT: usize = 100;
/// Bytes copied at a time.
const BUFFER: usize = 256 * 1024;
/// Directory of files in OCI's layout, named by digest.
const BLOBS: &str = "blobs/sha256/";

/// A parent that was copied.
#[derive(Debug)]
pub(crate) struct Copied {
    /// Paths of its layers in the archive, lowest first.
    pub layers: Vec<String>,
    /// Its layers' OCI descriptors, for an engine that identifies an image by its manifest and not by its configuration.
    descriptors: Option<Vec<Value>>,
}

/// Files that identify an image by its manifest.
pub(crate) struct OciFiles {
    /// The image's id: the manifest's digest.
    pub id: String,
    /// The manifest, under any name: it is found by its digest.
    pub manifest: Vec<u8>,
    /// `index.json`.
    pub index: Vec<u8>,
    /// `oci-layout`.
    pub layout: Vec<u8>,
}

#[derive(Deserialize)]
struct SavedManifest {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "Layers")]
    layers: Vec<String>,
}

struct File {
    kind: EntryType,
    len: u64,
    start: [u8; 4],
}

/// Copies a saved image to `out`, into a folder, without the files that state which image it is. Errors of `out` contain an
/// [`ImageError`].
pub(crate) fn copy_archive(
    saved: impl Read,
    parent: &ImageMetadata,
    folder: &str,
    out: &mut dyn Write,
) -> Result<Copied, ImageError> {
    let mut seen: HashMap<String, File> = HashMap::new();
    let mut manifest = None;
    let mut entries = TarReader::new(saved);
    while let Some(entry) = entries.next()? {
        let name = plain_name(&entry.path)?;
        if REPLACED.contains(&name.as_str()) {
            if name == "manifest.json" {
                manifest = Some(read_manifest(&entry, &mut entries)?);
            }
            continue;
        }
        let file = copy_entry(&entry, &mut entries, folder, &name, out)?;
        if seen.insert(name, file).is_some() || seen.len() > ENTRY_LIMIT {
            return Err(ImageError::Malformed("too many entries, or one twice"));
        }
    }
    let SavedManifest { config, layers } = manifest.ok_or(ImageError::Malformed("no manifest.json"))?;
    let is_there = |layer: &String| seen.get(layer).is_some_and(|file| file.kind != EntryType::Directory);
    if layers.len() != parent.layers.len() || !layers.iter().all(is_there) {
        return Err(ImageError::Malformed("the layers of manifest.json"));
    }
    let hex = parent.id.trim_start_matches("sha256:");
    let by_config = config.rsplit('/').next().is_some_and(|name| name.trim_end_matches(".json") == hex);
    let by_manifest = !by_config && seen.contains_key(&format!("{BLOBS}{hex}"));
    let descriptors = by_manifest.then(|| layers.iter().map(|layer| descriptor(layer, &seen[layer])).collect()).transpose()?;
    let layers = layers.iter().map(|layer| format!("{folder}/{layer}")).collect();
    Ok(Copied { layers, descriptors })
}

impl Copied {
    /// Returns the files that identify an image by its manifest; `None` if the configuration's digest is the id.
    /// `config` and `layer` are digest and length.
    pub(crate) fn oci(&self, config: (&str, u64), layer: (&str, u64)) -> Option<OciFiles> {
        let mut layers = self.descriptors.clone()?;
        layers.push(json!({ "mediaType": media_type([0; 4]), "digest": layer.0, "size": layer.1 }));
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.0, "size": config.1 },
            "layers": layers,
        });
        let manifest = manifest.to_string().into_bytes();
        let mut hasher = FileHasher::new();
        hasher.update(&manifest);
        let id = format!("sha256:{}", const_hex::encode(hasher.finish()));
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": id,
                "size": manifest.len(),
            }],
        });
        let layout = json!({ "imageLayoutVersion": "1.0.0" });
        let text = |value: Value| value.to_string().into_bytes();
        Some(OciFiles { id, manifest, index: text(index), layout: text(layout) })
    }
}

fn copy_entry(
    entry: &TarEntry,
    content: &mut impl Read,
    folder: &str,
    name: &str,
    out: &mut dyn Write,
) -> Result<File, ImageError> {
    let place = format!("{folder}/{name}");
    let meta = FileAttrs { mode: entry.meta.mode & 0o777, uid: 0, gid: 0, ..entry.meta };
    let mut file = File { kind: entry.kind, len: 0, start: [0; 4] };
    match file.kind {
        kind @ EntryType::Directory => {
            out.write_all(&header_blocks(&format!("{place}/"), kind, meta, 0)).map_err(output_error)?;
        }
        kind @ EntryType::Regular => {
            file.len = entry.size;
            out.write_all(&header_blocks(&place, kind, meta, file.len)).map_err(output_error)?;
            file.start = pass_content(content, file.len, out)?;
        }
        // Old engines write a repeated layer as a link to its first place.
        EntryType::Symlink => {
            if !stays_inside(name, &entry.link) {
                return Err(ImageError::Malformed("a link that leads out of the archive"));
            }
            out.write_all(&link_blocks(&place, EntryType::Symlink, meta, &entry.link)).map_err(output_error)?;
        }
        _ => return Err(ImageError::Malformed("an entry of unknown type")),
    }
    Ok(file)
}

/// Copies the content and returns its first bytes.
fn pass_content(content: &mut impl Read, len: u64, out: &mut dyn Write) -> Result<[u8; 4], ImageError> {
    let mut start = [0; 4];
    let mut buffer = vec![0; BUFFER.min(len as usize)];
    let mut passed = 0;
    while passed < len {
        let count = match content.read(&mut buffer).map_err(ImageError::from_io)? {
            0 => return Err(ImageError::Malformed("it ends too early")),
            count => count,
        };
        for (at, byte) in (passed..4).zip(&buffer[..count]) {
            start[at as usize] = *byte;
        }
        out.write_all(&buffer[..count]).map_err(output_error)?;
        passed += count as u64;
    }
    out.write_all(&[0; 512][..(len.next_multiple_of(512) - len) as usize]).map_err(output_error)?;
    Ok(start)
}

fn read_manifest(entry: &TarEntry, content: &mut impl Read) -> Result<SavedManifest, ImageError> {
    if entry.size > MANIFEST_LIMIT {
        return Err(ImageError::Limit("bytes of manifest.json"));
    }
    let mut text = Vec::new();
    content.take(MANIFEST_LIMIT).read_to_end(&mut text).map_err(ImageError::from_io)?;
    let images: Vec<SavedManifest> = serde_json::from_slice(&text).map_err(|_| ImageError::Malformed("manifest.json"))?;
    let mut images = images.into_iter();
    match (images.next(), images.next()) {
        (Some(image), None) => Ok(image),
        _ => Err(ImageError::Malformed("manifest.json of several images")),
    }
}

/// Returns a name without a trailing slash. Names that are absolute, climb or are not plain text are rejected.
fn plain_name(name: &[u8]) -> Result<String, ImageError> {
    let name = std::str::from_utf8(name).map_err(|_| ImageError::Malformed("a name that is not UTF-8"))?;
    let name = name.strip_prefix("./").unwrap_or(name);
    let name = name.strip_suffix('/').unwrap_or(name);
    let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(char::is_control);
    if name.len() > NAME_LIMIT || !name.split('/').all(plain) {
        return Err(ImageError::Malformed("a name that is not plain"));
    }
    Ok(name.to_owned())
}

/// Whether a link's target is a relative path that never climbs above the archive's root.
fn stays_inside(name: &str, target: &[u8]) -> bool {
    let Ok(target) = std::str::from_utf8(target) else { return false };
    let mut depth = name.split('/').count() - 1;
    let mut step = |part: &str| match part {
        ".." => depth.checked_sub(1).map(|up| depth = up).is_some(),
        "" => false,
        "." => true,
        _ => {
            depth += 1;
            true
        }
    };
    target.len() <= LINK_LIMIT && target.split('/').all(&mut step)
}

fn descriptor(place: &str, file: &File) -> Result<Value, ImageError> {
    let hex =
        place.strip_prefix(BLOBS).filter(|hex| hex.len() == 64).ok_or(ImageError::Malformed("a layer without its digest"))?;
    Ok(json!({ "mediaType": media_type(file.start), "digest": format!("sha256:{hex}"), "size": file.len }))
}

/// Returns a layer's media type by its first bytes. The containerd image store keeps pulled layers unchanged.
fn media_type(start: [u8; 4]) -> &'static str {
    match start {
        [0x1f, 0x8b, ..] => "application/vnd.oci.image.layer.v1.tar+gzip",
        [0x28, 0xb5, 0x2f, 0xfd] => "application/vnd.oci.image.layer.v1.tar+zstd",
        _ => "application/vnd.oci.image.layer.v1.tar",
    }
}

#[cfg(test)]
mod tests;
