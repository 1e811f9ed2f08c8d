//! Reads a train's archive once, front to back, without a key: from an engine, or from an uploaded archive.
//!
//! An archive is one of three kinds, which its first entry shows: `/opt` as an engine returns it (`opt/…`); the extractor's
//! output, the same without `opt/` and without the code; or `docker save`. Names, lengths and the two small files are kept.

use std::io::Read;

use stationmaster_train::{envelope::Shape, names::FilePath, proof::Found, rule::Rule};
use tar::EntryType;

use super::{
    reader::{CONFIG_LIMIT, TrainDir, TrainTreeEntry, TrainTreeReader, TrainTreeSink},
    sealed_files::{SealedFile, SealedFiles},
    train_archive_layers::TrainLayers,
};
use crate::{
    ImageError,
    archive::{file_kind, memory_budget::Share, reader::SavedReader, source::ImageInput},
    disk::spool::Spool,
    filesystem::overlay::plain_path,
    tar::{
        end_check::EndCheckedReader,
        layer_writer::FileAttrs,
        reader::{TarEntry, TarReader},
    },
};

/// Path of the config, below `/opt`.
const CONFIG: &str = "train_config.json";
/// Path of the wrapped key, below `/opt`.
const USER_KEY: &str = "user_sym_key.key";
/// Maximum length of a wrapped key that is read, in bytes: that of a 16384-bit RSA key.
const USER_KEY_LIMIT: u64 = 2048;
/// First components of names in a `docker save` archive, in any order.
const SAVED: [&str; 5] = ["blobs", "index.json", "manifest.json", "oci-layout", "repositories"];

/// Contents of a train.
#[derive(Debug, Default)]
pub struct TrainFiles {
    /// `train_config.json`, if it is a file.
    pub config: Option<Vec<u8>>,
    /// All other entries.
    pub found: Found,
    /// Memory of the names, counted in the budget.
    pub share: Share,
}

/// Reads an archive of any of the three kinds. `check` is called regularly; an error of it ends the reading.
pub fn read_train(archive: impl Read, check: &dyn Fn() -> Result<(), ImageError>) -> Result<TrainFiles, ImageError> {
    Ok(read(archive, None, Collector::new(check))?.files)
}

/// As [`read_train`], and keeps the sealed files in the spool.
pub fn read_sealed_train(
    (archive, image): (impl Read, Option<&str>),
    spool: Spool,
    check: &dyn Fn() -> Result<(), ImageError>,
) -> Result<(TrainFiles, SealedFiles), ImageError> {
    let taken = read(archive, image, Collector { sealed: Some(SealedFiles::new(spool)), ..Collector::new(check) })?;
    let sealed = taken.sealed.ok_or(ImageError::Malformed("no files"))?;
    Ok((taken.files, sealed.finish()?))
}

fn read<'a>(archive: impl Read, image: Option<&str>, mut taken: Collector<'a>) -> Result<Collector<'a>, ImageError> {
    let mut tape = EndCheckedReader::new(archive);
    let mut entries = TarReader::new(&mut tape);
    let mut reader = None;
    while let Some(entry) = entries.next()? {
        let reader = match &mut reader {
            Some(reader) => reader,
            none => match Reader::for_archive(&entry)? {
                Some(found) => none.insert(found),
                None => continue,
            },
        };
        reader.take(entry, &mut entries, &mut taken)?;
    }
    tape.check_end()?;
    reader.ok_or(ImageError::Malformed("an empty archive"))?.finish(image, &mut taken)?;
    Ok(taken)
}

/// As [`read_train`], for any image input.
pub fn read_train_at(place: ImageInput<'_>, check: &dyn Fn() -> Result<(), ImageError>) -> Result<TrainFiles, ImageError> {
    match place {
        ImageInput::Archive(archive, image) => Ok(read(archive, image.as_deref(), Collector::new(check))?.files),
        ImageInput::Layout(layout) => {
            let (mut layers, mut taken) = (TrainLayers::default(), Collector::new(check));
            let image = layout.read(&mut layers, |_| {})?;
            layers.emit(&image.layers, &mut taken)?;
            Ok(taken.files)
        }
    }
}

enum Reader {
    Opt(TrainTreeReader),
    Delivered(TrainTreeReader),
    Saved(Box<(SavedReader, TrainLayers)>),
}

impl Reader {
    /// Returns the kind of an archive by an entry; `None` if the entry does not show it: the archive's own root, or macOS metadata of
    /// a file.
    fn for_archive(first: &TarEntry) -> Result<Option<Self>, ImageError> {
        let Some(path) = plain_path(&first.path)? else {
            return match first.kind {
                EntryType::Directory => Ok(None),
                _ => Err(ImageError::Malformed("a root that is no directory")),
            };
        };
        let root = path.split(|byte| *byte == b'/').next().unwrap_or_default();
        let root = std::str::from_utf8(root).unwrap_or_default();
        let is_saved = |file: &str| {
            let stem = [".json", ".tar", ".tar.gz"].iter().find_map(|end| file.strip_suffix(end)).unwrap_or(file);
            SAVED.contains(&file) || is_id(stem.strip_prefix("sha256:").unwrap_or(stem))
        };
        Ok(Some(match root {
            "opt" => Self::Opt(TrainTreeReader::new("opt/")),
            CONFIG | USER_KEY => Self::Delivered(TrainTreeReader::new("")),
            area if [TrainDir::Train, TrainDir::Results].iter().any(|known| known.name() == area) => {
                Self::Delivered(TrainTreeReader::new(""))
            }
            file if is_saved(file) => Self::Saved(Box::new((SavedReader::default(), TrainLayers::default()))),
            note if note.starts_with("._") => return Ok(None),
            _ if file_kind::is_of_file_system(&path) => return Err(file_kind::file_system()),
            _ => return Err(ImageError::Malformed("neither /opt, nor what the extractor delivers, nor of docker save")),
        }))
    }

    fn take(&mut self, entry: TarEntry, content: &mut dyn Read, taken: &mut Collector<'_>) -> Result<(), ImageError> {
        match self {
            Self::Opt(reader) | Self::Delivered(reader) => {
                let TarEntry { path, kind, size, meta, .. } = entry;
                reader.take(TrainTreeEntry { path: &path, kind, size, meta, content }, taken)
            }
            Self::Saved(saved) => {
                let (reader, layers) = &mut **saved;
                (taken.check)()?;
                layers.sealed = taken.sealed.take();
                let read = reader.take(&entry, content, layers);
                taken.sealed = layers.sealed.take();
                read
            }
        }
    }

    fn finish(self, image: Option<&str>, taken: &mut Collector<'_>) -> Result<(), ImageError> {
        let found = &mut taken.files.found;
        match self {
            Self::Opt(_) => Ok(()),
            Self::Delivered(_) if !found.others.is_empty() => {
                Err(ImageError::Malformed("an entry that the extractor does not deliver"))
            }
            Self::Delivered(_) => {
                found.without_code = !found.code.is_there && found.code.files().next().is_none();
                Ok(())
            }
            Self::Saved(saved) => {
                let (reader, layers) = *saved;
                layers.emit(&reader.finish(image, None)?.layers, taken)
            }
        }
    }
}

/// Whether a name is that of a layer or configuration in the old layout of `docker save`.
fn is_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Collects the entries.
pub(crate) struct Collector<'a> {
    pub(crate) files: TrainFiles,
    pub(crate) file: Option<(TrainDir, FilePath, u64)>,
    pub(crate) shape: Shape,
    pub(crate) sealed: Option<SealedFiles>,
    pub(crate) check: &'a dyn Fn() -> Result<(), ImageError>,
}

impl<'a> Collector<'a> {
    pub(crate) fn new(check: &'a dyn Fn() -> Result<(), ImageError>) -> Self {
        Self { files: TrainFiles::default(), file: None, shape: Shape::default(), sealed: None, check }
    }

    pub(crate) fn keep(&mut self, path: &FilePath) -> Result<(), ImageError> {
        // If sealed files are kept, each is also kept under its name.
        let names = if self.sealed.is_some() { 2 } else { 1 };
        self.files.share.entry::<(FilePath, SealedFile)>(names * path.as_str().len())
    }

    /// Adds one of the two small files, by its path below `/opt`.
    pub(crate) fn small_file(&mut self, path: &str, content: Vec<u8>) {
        let place = if path == CONFIG { &mut self.files.config } else { &mut self.files.found.user_key };
        if place.is_some() {
            self.files.found.breach(Rule::UniqueNames, path.as_bytes());
        } else {
            *place = Some(content);
        }
    }
}

/// Returns the maximum number of bytes to read of one of the two small files.
pub(crate) fn small_limit(path: &str) -> Option<u64> {
    match path {
        CONFIG => Some(CONFIG_LIMIT),
        USER_KEY => Some(USER_KEY_LIMIT),
        _ => None,
    }
}

/// Reads one of the two small files. A wrapped key that is too long is invalid: the part that is read equals no key.
pub(crate) fn read_small(path: &str, size: u64, limit: u64, content: &mut dyn Read) -> Result<Vec<u8>, ImageError> {
    if size > limit && path == CONFIG {
        return Err(ImageError::Limit("bytes of train_config.json"));
    }
    let mut read = Vec::new();
    content.take(limit).read_to_end(&mut read).map_err(ImageError::from_io)?;
    Ok(read)
}

impl TrainTreeSink for Collector<'_> {
    type Error = ImageError;

    fn directory(&mut self, area: TrainDir, path: Option<FilePath>, _: FileAttrs) -> Result<(), ImageError> {
        if let Some(path) = &path {
            self.keep(path)?;
        }
        let found = &mut self.files.found;
        let directory = if area == TrainDir::Train { &mut found.code } else { &mut found.results };
        match path {
            None => directory.is_there = true,
            Some(path) => directory.directory(path),
        }
        Ok(())
    }

    fn begin(&mut self, area: TrainDir, path: FilePath, _: FileAttrs, size: u64) -> Result<(), ImageError> {
        self.keep(&path)?;
        if let Some(sealed) = &mut self.sealed {
            sealed.begin(size)?;
        }
        self.file = Some((area, path, size));
        (self.check)()
    }

    fn chunk(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.shape.update(bytes);
        if let Some(sealed) = &mut self.sealed {
            sealed.spool.append(bytes)?;
        }
        (self.check)()
    }

    fn end(&mut self) -> Result<(), ImageError> {
        if let Some((area, path, size)) = self.file.take() {
            if let Some(sealed) = &mut self.sealed {
                sealed.keep(area, path.clone(), sealed.extent());
            }
            self.files.found.file(area == TrainDir::Train, path, size, self.shape.verdict());
        }
        Ok(())
    }

    fn other(&mut self, path: &str) -> Result<(), ImageError> {
        let path = path.trim_end_matches('/');
        if small_limit(path).is_some() {
            self.files.found.breach(Rule::NoLinks, path.as_bytes());
        } else {
            self.files.found.others.add(path.as_bytes());
        }
        Ok(())
    }

    fn other_file(&mut self, path: &str, size: u64, content: &mut dyn Read) -> Result<(), ImageError> {
        let Some(limit) = small_limit(path) else { return self.other(path) };
        let content = read_small(path, size, limit, content)?;
        self.small_file(path, content);
        Ok(())
    }

    fn breach(&mut self, rule: Rule, name: &[u8]) -> Result<(), ImageError> {
        if rule == Rule::UniqueNames {
            // Duplicates are detected when all names are known.
            self.files.found.out_of_order = true;
        } else {
            self.files.found.breach(rule, name);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
