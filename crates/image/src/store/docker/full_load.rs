//! Writes an image with all its layers, for engines that do not accept an archive with only the new layer.
//!
//! This is slower: the parent's layers are read from the engine and sent back. The entries of `docker save` are copied one by
//! one, under headers generated here. Its documents are read as those of every saved image; all other content is copied unread.

use std::{
    collections::{HashMap, HashSet},
    io::{Read, Write},
};

use serde_json::{Value, json};
use stationmaster_train::digest::Sha256Digest;
use tar::EntryType;

use crate::{
    ImageError,
    oci::{
        digest,
        documents::{self, Described, Document, Documents},
        image_config::ImageMetadata,
        reference::ImageId,
    },
    tar::{
        entry::FileAttrs,
        header_writer::{header_blocks, link_blocks},
        layer_writer::output_error,
        reader::{TarEntry, TarReader},
    },
};

/// Files that are generated here, about the new image.
const REPLACED: [&str; 4] = ["manifest.json", "repositories", "index.json", "oci-layout"];
/// Maximum number of entries that are copied: an image has at most some hundred layers, each with a few files.
const ENTRY_LIMIT: usize = 10_000;
/// Maximum length of a name that is copied, in bytes.
const NAME_LIMIT: usize = 255;
/// Maximum length of a link's target, in bytes: the size of its header's field.
const LINK_LIMIT: usize = 100;
/// Bytes copied at a time.
const BUFFER: usize = 256 * 1024;

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
    pub id: ImageId,
    /// The manifest, under any name: it is found by its digest.
    pub manifest: Vec<u8>,
    /// `index.json`.
    pub index: Vec<u8>,
    /// `oci-layout`.
    pub layout: Vec<u8>,
}

/// A file that was copied.
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
    let mut copy = Copy { folder, out, names: HashSet::new(), files: HashMap::new(), documents: Documents::default() };
    let mut entries = TarReader::new(saved);
    while let Some(entry) = entries.next()? {
        copy.entry(&entry, &mut entries)?;
    }
    let Copy { names, files, documents, .. } = copy;
    let Described { layers, config, .. } = documents.describe(&names, None)?;
    let is_there = |layer: &String| files.get(layer).is_some_and(|file| file.kind != EntryType::Directory);
    if layers.len() != parent.layers.len() || !layers.iter().all(is_there) {
        return Err(ImageError::Malformed("the layers of manifest.json"));
    }
    let by_config = config.is_some_and(|config| ImageId::from(Sha256Digest::of(&config)) == parent.id);
    let has_manifest = parent.id.repository().is_none() && files.contains_key(&digest::file_name(parent.id.digest()));
    let by_manifest = !by_config && has_manifest;
    let descriptors = by_manifest.then(|| layers.iter().map(|layer| descriptor(layer, &files[layer])).collect()).transpose()?;
    let layers = layers.iter().map(|layer| format!("{folder}/{layer}")).collect();
    Ok(Copied { layers, descriptors })
}

impl Copied {
    /// Returns the files that identify an image by its manifest; `None` if the configuration's digest is the id.
    /// `config` and `layer` are digest and length.
    pub(crate) fn oci(&self, config: (Sha256Digest, u64), layer: (Sha256Digest, u64)) -> Option<OciFiles> {
        let mut layers = self.descriptors.clone()?;
        layers.push(json!({ "mediaType": media_type([0; 4]), "digest": layer.0.to_string(), "size": layer.1 }));
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.0.to_string(), "size": config.1 },
            "layers": layers,
        });
        let manifest = manifest.to_string().into_bytes();
        let id = Sha256Digest::of(&manifest);
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": id.to_string(),
                "size": manifest.len(),
            }],
        });
        let layout = json!({ "imageLayoutVersion": "1.0.0" });
        let text = |value: Value| value.to_string().into_bytes();
        Some(OciFiles { id: id.into(), manifest, index: text(index), layout: text(layout) })
    }
}

/// An archive while it is copied.
struct Copy<'a> {
    folder: &'a str,
    out: &'a mut dyn Write,
    /// Names of all entries.
    names: HashSet<String>,
    /// The entries that were copied.
    files: HashMap<String, File>,
    documents: Documents,
}

impl Copy<'_> {
    fn entry(&mut self, entry: &TarEntry, content: &mut dyn Read) -> Result<(), ImageError> {
        let name = plain_name(&entry.path)?;
        if !self.names.insert(name.clone()) || self.names.len() > ENTRY_LIMIT {
            return Err(ImageError::Malformed("too many entries, or one twice"));
        }
        if REPLACED.contains(&name.as_str()) {
            if Document::is_one(&name) {
                self.documents.keep(&name, documents::read(entry.size, content)?)?;
            }
            return Ok(());
        }
        let place = format!("{}/{name}", self.folder);
        let meta = FileAttrs { mode: entry.meta.mode & 0o777, uid: 0, gid: 0, ..entry.meta };
        let mut file = File { kind: entry.kind, len: 0, start: [0; 4] };
        match file.kind {
            kind @ EntryType::Directory => self.put(&header_blocks(&format!("{place}/"), kind, meta, 0))?,
            kind @ EntryType::Regular => {
                file.len = entry.size;
                self.put(&header_blocks(&place, kind, meta, file.len))?;
                file.start = self.content(&name, file.len, content)?;
            }
            // Old engines write a repeated layer as a link to its first place.
            EntryType::Symlink => {
                if !stays_inside(&name, &entry.link) {
                    return Err(ImageError::Malformed("a link that leads out of the archive"));
                }
                self.put(&link_blocks(&place, EntryType::Symlink, meta, &entry.link))?;
            }
            _ => return Err(ImageError::Malformed("an entry of unknown type")),
        }
        self.files.insert(name, file);
        Ok(())
    }

    /// Copies a file's content, and keeps it if it is a document. Returns its first bytes.
    fn content(&mut self, name: &str, len: u64, content: &mut dyn Read) -> Result<[u8; 4], ImageError> {
        let mut first = Vec::with_capacity(4);
        content.take(4).read_to_end(&mut first).map_err(ImageError::from_io)?;
        let mut start = [0; 4];
        start[..first.len()].copy_from_slice(&first);
        let mut content = first.as_slice().chain(content);
        let passed = if Document::is_one(name) || name.starts_with("blobs/") && first.starts_with(b"{") {
            let bytes = documents::read(len, content)?;
            self.put(&bytes)?;
            let passed = bytes.len() as u64;
            self.documents.keep(name, bytes)?;
            passed
        } else {
            self.pass(len, &mut content)?
        };
        if passed != len {
            return Err(ImageError::Malformed("it ends too early"));
        }
        self.put(&[0; 512][..(len.next_multiple_of(512) - len) as usize])?;
        Ok(start)
    }

    /// Copies content of `len` bytes; returns how many there were.
    fn pass(&mut self, len: u64, content: &mut dyn Read) -> Result<u64, ImageError> {
        let mut buffer = vec![0; BUFFER.min(len as usize)];
        let mut passed = 0;
        while passed < len {
            match content.read(&mut buffer).map_err(ImageError::from_io)? {
                0 => break,
                count => {
                    self.put(&buffer[..count])?;
                    passed += count as u64;
                }
            }
        }
        Ok(passed)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.out.write_all(bytes).map_err(output_error)
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
    let digest = digest::of_file(place).ok_or(ImageError::Malformed("a layer without its digest"))?;
    Ok(json!({ "mediaType": media_type(file.start), "digest": digest.to_string(), "size": file.len }))
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
