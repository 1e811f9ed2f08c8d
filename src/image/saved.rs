//! A `docker save` archive of one image, in either layout: its layers entry by entry as they stream, and their order at the end.

mod overlay;

use std::{
    collections::HashMap,
    io::{self, Read},
};

use serde::Deserialize;
use tar::{Archive, Entry, EntryType};

use super::{ImageError, bounded::bounded, opt::broken, tape::Tape};
use crate::train::digest::FileHasher;

pub(super) use overlay::{Change, Node, lay, plain_path};

/// Longest manifest that is read, in bytes.
const MANIFEST_LIMIT: u64 = 4 * 1024 * 1024;
/// Most entries of the archive itself: an image has at most some hundred layers, each with a few files.
const FILE_LIMIT: usize = 10_000;

/// Takes the entries of layers, in the archive's order, which need not be the layers'.
pub trait LayerSink {
    /// The sink's error.
    type Error: From<ImageError>;

    /// An entry of the layer that has this name in the archive. Content that is not read is skipped.
    fn entry<R: Read>(&mut self, layer: &str, entry: &mut Entry<'_, R>) -> Result<(), Self::Error>;
}

#[derive(Deserialize)]
struct ManifestImage {
    #[serde(rename = "Layers")]
    layers: Vec<String>,
}

/// Reads an archive of one image, entry by entry.
#[derive(Default)]
pub(super) struct SavedReader {
    /// Layers that were read, and the digests of their archives.
    layers: HashMap<String, String>,
    /// Old engines write a layer that occurs twice as a link to its first place.
    links: HashMap<String, String>,
    manifest: Option<Vec<String>>,
    files: usize,
}

/// Reads a whole archive, as [`SavedReader::finish`] says of `expected`. Answers the layers' names in it, lowest first. `progress` is told the bytes read so far.
pub fn read_saved<S: LayerSink>(
    archive: impl Read,
    expected: Option<&[String]>,
    sink: &mut S,
    mut progress: impl FnMut(u64),
) -> Result<Vec<String>, S::Error> {
    let mut tape = Tape::new(archive);
    let (archive, bound) = bounded(&mut tape);
    let mut archive = Archive::new(archive);
    let mut entries = archive.entries().map_err(broken)?;
    let (mut reader, mut read) = (SavedReader::default(), 0);
    while let Some(mut entry) = bound.next(&mut entries)? {
        read += entry.size();
        reader.take(&mut entry, sink)?;
        progress(read);
    }
    tape.check_end()?;
    Ok(reader.finish(expected)?)
}

impl SavedReader {
    /// Reads one entry.
    pub fn take<S: LayerSink, R: Read>(&mut self, entry: &mut Entry<'_, R>, sink: &mut S) -> Result<(), S::Error> {
        self.files += 1;
        if self.files > FILE_LIMIT {
            return Err(ImageError::Limit("entries of an image archive").into());
        }
        let name =
            String::from_utf8(entry.path_bytes().into_owned()).map_err(|_| ImageError::Malformed("a name that is not UTF-8"))?;
        match entry.header().entry_type() {
            EntryType::Regular if name == "manifest.json" => {
                if self.manifest.is_some() {
                    return Err(ImageError::Malformed("manifest.json is there twice").into());
                }
                self.manifest = Some(read_manifest(entry)?);
            }
            EntryType::Regular if name.ends_with("/layer.tar") || name.starts_with("blobs/") => {
                if self.layers.contains_key(&name) {
                    return Err(ImageError::Malformed("a layer is there twice").into());
                }
                if let Some(digest) = read_layer(&name, entry, sink)? {
                    self.layers.insert(name, digest);
                }
            }
            EntryType::Symlink => {
                if let Some(target) = entry.link_name_bytes() {
                    let target = String::from_utf8_lossy(&target).trim_start_matches("../").to_owned();
                    self.links.insert(name, target);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Ends the archive: the layers' names in it, lowest first. The same name may stand twice. With `expected`, they must be those:
    /// digests of their archives (`sha256:…`), lowest first.
    pub fn finish(self, expected: Option<&[String]>) -> Result<Vec<String>, ImageError> {
        let manifest = self.manifest.ok_or(ImageError::Malformed("no manifest.json"))?;
        let place = |name: String| {
            let name = if self.layers.contains_key(&name) { name } else { self.links.get(&name).cloned().unwrap_or(name) };
            let digest = self.layers.get(&name).ok_or(ImageError::Malformed("a layer of the manifest is missing"))?;
            Ok((name, digest))
        };
        let found: Vec<(String, &String)> = manifest.into_iter().map(place).collect::<Result<_, ImageError>>()?;
        match expected {
            Some(expected) if !found.iter().map(|(_, digest)| *digest).eq(expected) => {
                Err(ImageError::Malformed("its layers are not those that the engine names"))
            }
            _ => Ok(found.into_iter().map(|(name, _)| name).collect()),
        }
    }
}

fn read_manifest(entry: &mut Entry<'_, impl Read>) -> Result<Vec<String>, ImageError> {
    if entry.size() > MANIFEST_LIMIT {
        return Err(ImageError::Limit("bytes of manifest.json"));
    }
    let images: Vec<ManifestImage> = serde_json::from_reader(entry).map_err(|_| ImageError::Malformed("manifest.json"))?;
    let mut images = images.into_iter();
    match (images.next(), images.next()) {
        (Some(image), None) => Ok(image.layers),
        _ => Err(ImageError::Malformed("manifest.json of several images")),
    }
}

/// Hashes what is read.
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

/// Reads a layer and answers its digest; `None` when the file is no tar archive (a configuration among the blobs).
fn read_layer<S: LayerSink>(name: &str, file: &mut impl Read, sink: &mut S) -> Result<Option<String>, S::Error> {
    let mut start = Vec::with_capacity(512);
    file.take(512).read_to_end(&mut start).map_err(broken)?;
    let is_tar = start.len() == 512 && (&start[257..262] == b"ustar" || start.iter().all(|byte| *byte == 0));
    if !is_tar {
        if start.starts_with(&[0x1f, 0x8b]) || start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || name.ends_with("/layer.tar") {
            return Err(ImageError::Malformed("a compressed layer, or one of an unknown kind").into());
        }
        return Ok(None);
    }
    // Some builders leave a layer without its end.
    let mut file = Hashed { file: start.as_slice().chain(file), hasher: FileHasher::new() };
    let mut tape = Tape::new(&mut file);
    let (layer, bound) = bounded(&mut tape);
    let mut layer = Archive::new(layer);
    let mut entries = layer.entries().map_err(broken)?;
    while let Some(mut entry) = bound.next(&mut entries)? {
        sink.entry(name, &mut entry)?;
    }
    tape.nothing_follows()?;
    Ok(Some(format!("sha256:{}", const_hex::encode(file.hasher.finish()))))
}
