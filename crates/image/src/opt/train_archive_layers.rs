//! Reads `/opt` from a `docker save` archive: collects every layer's changes to it, and applies them when all are read.

use std::{collections::HashSet, io::Read, sync::Arc};

use stationmaster_train::{
    envelope::{Shape, ShapeVerdict},
    names::FilePath,
    rule::Rule,
};
use tar::EntryType;

use super::{layer_changes::LayerChanges, reader::TrainTreeSink, sealed_files::SealedFiles};
use crate::{
    ImageError,
    archive::layer_sink::LayerSink,
    disk::spool::Extent,
    filesystem::{
        changeset::{Change, Node, in_order},
        overlay::Overlay,
    },
    opt::{
        train_collector::{Collector, read_small, small_limit},
        train_dirs::TrainDir,
    },
    tar::reader::TarEntry,
};

/// Maximum total size of small files that are kept, all layers together, in bytes.
const SMALL_LIMIT: usize = 64 << 20;

/// A node at a path below `/opt`.
#[derive(Clone)]
enum FileLocation {
    Directory,
    File {
        size: u64,
        looks: ShapeVerdict,
        /// Its location in the spool, if sealed files are kept.
        extent: Option<Extent>,
        /// Content of one of the two small files.
        content: Option<Arc<[u8]>>,
    },
    /// A link of either kind, a device, a pipe.
    Other,
}

impl Node for FileLocation {
    fn implied_directory() -> Self {
        Self::Directory
    }

    fn is_implied_directory(&self) -> bool {
        self.is_directory()
    }

    fn is_directory(&self) -> bool {
        matches!(self, Self::Directory)
    }
}

/// Collects the changes of layers to `/opt`.
pub(crate) struct TrainLayers<'a> {
    changes: LayerChanges<'a, FileLocation>,
    files: FileReader,
}

/// Reads the files of layers.
#[derive(Default)]
struct FileReader {
    /// Bytes of the small files so far, all layers together.
    small: usize,
    shape: Shape,
    /// The sealed files that are kept.
    sealed: Option<SealedFiles>,
}

impl LayerSink for TrainLayers<'_> {
    type Error = ImageError;

    fn entry(&mut self, layer: &str, entry: &TarEntry, content: &mut dyn Read) -> Result<(), ImageError> {
        let Self { changes, files } = self;
        changes.add(layer, entry, |path| files.read(path, entry, content))
    }
}

impl FileReader {
    fn read(&mut self, path: &[u8], entry: &TarEntry, content: &mut dyn Read) -> Result<FileLocation, ImageError> {
        match entry.kind {
            EntryType::Directory => return Ok(FileLocation::Directory),
            _ if entry.is_file() => {}
            _ => return Ok(FileLocation::Other),
        }
        let (size, below) = (entry.size, String::from_utf8_lossy(path.get(4..).unwrap_or_default()));
        if let Some(limit) = small_limit(&below) {
            let content = read_small(&below, size, limit, content)?;
            self.small += content.len();
            if self.small > SMALL_LIMIT {
                return Err(ImageError::Limit("bytes of train_config.json, all layers together"));
            }
            return Ok(FileLocation::File { size, looks: ShapeVerdict::Sealed, extent: None, content: Some(content.into()) });
        }
        if let Some(sealed) = &mut self.sealed {
            sealed.begin(size)?;
        }
        let mut buffer = [0; 64 * 1024];
        loop {
            let n = content.read(&mut buffer).map_err(ImageError::from_io)?;
            if n == 0 {
                let extent = self.sealed.as_ref().map(SealedFiles::extent);
                return Ok(FileLocation::File { size, looks: self.shape.verdict(), extent, content: None });
            }
            self.shape.update(&buffer[..n]);
            if let Some(sealed) = &mut self.sealed {
                sealed.spool.append(&buffer[..n])?;
            }
        }
    }
}

impl<'a> TrainLayers<'a> {
    /// Creates an empty set; `check` is called for every entry of a layer.
    pub(crate) fn new(check: &'a dyn Fn() -> Result<(), ImageError>) -> Self {
        Self { changes: LayerChanges::new(check), files: FileReader::default() }
    }

    /// Returns the place of the sealed files that are kept.
    pub(crate) fn sealed(&mut self) -> &mut Option<SealedFiles> {
        &mut self.files.sealed
    }

    /// Passes the resulting entries to `taken`, after the layers are applied in this order.
    pub(crate) fn emit(self, order: &[String], taken: &mut Collector<'_>) -> Result<(), ImageError> {
        let mut laid = Overlay::default();
        for changes in in_order(self.changes.changes, order) {
            let mut set = HashSet::new();
            for change in changes.iter() {
                if let Change::Set(path, node) = change
                    && !set.insert(path)
                    && !node.is_directory()
                {
                    taken.files.found.breach(Rule::UniqueNames, path);
                }
            }
            laid.apply_layer(changes, &mut |_, _| {})?;
        }
        for (path, found) in laid.tree {
            emit_one(&path, found, taken)?;
        }
        Ok(())
    }
}

fn emit_one(path: &[u8], found: FileLocation, taken: &mut Collector<'_>) -> Result<(), ImageError> {
    let Some(below) = path.strip_prefix(b"opt/") else {
        // `/opt` itself. Entries below a link are not in the tree a container sees, and neither is the config then.
        return if found.is_directory() { Ok(()) } else { taken.breach(Rule::NoLinks, path) };
    };
    for area in [TrainDir::Train, TrainDir::Results] {
        let Some(rest) = below.strip_prefix(area.name().as_bytes()) else { continue };
        let name = match rest {
            [] => None,
            [b'/', name @ ..] => Some(name),
            _ => continue,
        };
        let code = area == TrainDir::Train;
        let Some(name) = name else {
            let lies = &mut taken.files.found;
            match found {
                FileLocation::Directory => (if code { &mut lies.code } else { &mut lies.results }).is_there = true,
                _ => lies.breach(Rule::NoLinks, path),
            }
            return Ok(());
        };
        let Ok(name) = FilePath::from_bytes(name) else { return taken.breach(Rule::PlainNames, path) };
        taken.keep(&name)?;
        let lies = &mut taken.files.found;
        match found {
            FileLocation::Directory => (if code { &mut lies.code } else { &mut lies.results }).directory(name),
            FileLocation::File { size, looks, extent, .. } => {
                if let (Some(sealed), Some(extent)) = (&mut taken.sealed, extent) {
                    sealed.keep(area, name.clone(), extent);
                }
                lies.file(code, name, size, looks);
            }
            FileLocation::Other => lies.breach(Rule::NoLinks, path),
        }
        return Ok(());
    }
    let below = String::from_utf8_lossy(below);
    match found {
        FileLocation::File { content: Some(content), .. } => {
            taken.small_file(&below, content.to_vec());
            Ok(())
        }
        _ => taken.other(&below),
    }
}
