//! Reads a train's archive once, front to back, without a key: from an engine, or from an uploaded archive.
//!
//! An archive is one of three kinds, which its first entry shows: `/opt` as an engine returns it (`opt/…`); the extractor's
//! output, the same without `opt/` and without the code; or `docker save`. Names, lengths and the two small files are kept.

use std::io::Read;

use stationmaster_train::digest::Sha256Digest;
use tar::EntryType;

use super::{
    reader::{TrainTreeEntry, TrainTreeReader},
    sealed_files::SealedFiles,
    train_archive_layers::TrainLayers,
    train_collector::{CONFIG, Collector, TrainFiles, USER_KEY},
};
use crate::{
    ImageError,
    archive::{reader::SavedReader, source::ImageInput, stored_image::StoredImage},
    disk::spool::Spool,
    opt::train_dirs::TrainDir,
    tar::{
        end_check::EndCheckedReader,
        entry::plain_path,
        file_kind,
        reader::{TarEntry, TarReader},
    },
};

/// First components of names in a `docker save` archive, in any order.
const SAVED: [&str; 5] = ["blobs", "index.json", "manifest.json", "oci-layout", "repositories"];

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
            none => match Reader::for_archive(&entry, taken.check)? {
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
        ImageInput::Stream(archive, image) => Ok(read(archive, image.as_deref(), Collector::new(check))?.files),
        ImageInput::Stored(StoredImage::Archive(file, image)) => Ok(read(&*file, image.as_deref(), Collector::new(check))?.files),
        ImageInput::Stored(StoredImage::Layout(layout)) => {
            let (mut layers, mut taken) = (TrainLayers::new(check), Collector::new(check));
            let image = layout.read(&mut layers, |_| {})?;
            layers.emit(&image.layers, &mut taken)?;
            Ok(taken.files)
        }
    }
}

enum Reader<'a> {
    Opt(TrainTreeReader),
    Delivered(TrainTreeReader),
    Saved(Box<(SavedReader, TrainLayers<'a>)>),
}

impl<'a> Reader<'a> {
    /// Returns the kind of an archive by an entry; `None` if the entry does not show it: the archive's own root, or macOS metadata of
    /// a file.
    fn for_archive(first: &TarEntry, check: &'a dyn Fn() -> Result<(), ImageError>) -> Result<Option<Self>, ImageError> {
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
            SAVED.contains(&file) || stem.parse::<Sha256Digest>().or_else(|_| Sha256Digest::from_hex(stem)).is_ok()
        };
        Ok(Some(match root {
            "opt" => Self::Opt(TrainTreeReader::new("opt/")),
            CONFIG | USER_KEY => Self::Delivered(TrainTreeReader::new("")),
            area if [TrainDir::Train, TrainDir::Results].iter().any(|known| known.name() == area) => {
                Self::Delivered(TrainTreeReader::new(""))
            }
            file if is_saved(file) => Self::Saved(Box::new((SavedReader::default(), TrainLayers::new(check)))),
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
                *layers.sealed() = taken.sealed.take();
                let read = reader.take(&entry, content, layers);
                taken.sealed = layers.sealed().take();
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

#[cfg(test)]
mod tests;
