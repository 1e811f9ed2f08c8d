//! Index of `/opt` after all layers are applied, with each file's position in its layer.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    ops::Range,
    path::Path,
    sync::Arc,
};

use tar::EntryType;
use tokio_util::sync::CancellationToken;

use super::{
    layer_changes::LayerChanges,
    reader::{ENTRY_LIMIT, without_root},
};
use crate::{
    ImageError,
    archive::{layer_sink::LayerSink, memory_budget::Share, stored_image::StoredImage},
    disk::spool::{Extent, Spool},
    filesystem::{changeset::in_order, overlay::Overlay},
    oci::reference::ImageId,
    tar::{
        end_check::EndCheckedReader,
        entry::{FileAttrs, plain_path},
        reader::{TarEntry, TarReader},
    },
};

/// A node at a path.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Directory(FileAttrs),
    File {
        at: Location,
        size: u64,
        meta: FileAttrs,
    },
    /// A link of either kind, a device, a pipe.
    Other(EntryType, FileAttrs),
}

/// Location of a file's content.
#[derive(Clone, Debug)]
pub(crate) enum Location {
    /// In an uncompressed layer: the layer's name, and the byte at which the content starts in its file.
    Layer(Arc<str>, u64),
    /// In the spool, because a compressed layer can only be read from its start.
    Spool(Extent),
}

impl crate::filesystem::changeset::Node for Node {
    fn implied_directory() -> Self {
        Self::Directory(FileAttrs::directory(0))
    }

    fn is_implied_directory(&self) -> bool {
        matches!(self, Self::Directory(FileAttrs { mode: 0o755, uid: 0, gid: 0, .. }))
    }

    fn is_directory(&self) -> bool {
        matches!(self, Self::Directory(_))
    }
}

/// Returns the archive if it is one of `/opt` and not of an image, as its first entries show.
fn opt_archive(image: &StoredImage) -> Result<Option<&File>, ImageError> {
    let StoredImage::Archive(file, _) = image else { return Ok(None) };
    let mut start = &**file;
    start.seek(SeekFrom::Start(0)).map_err(ImageError::at("archive"))?;
    let mut entries = TarReader::new(start);
    // The archive's own root does not show its kind.
    let is_opt = loop {
        match entries.next()? {
            Some(entry) if without_root(&entry.path).is_empty() => {}
            Some(entry) => break without_root(&entry.path).split(|byte| *byte == b'/').next() == Some(b"opt"),
            None => break false,
        }
    };
    start.seek(SeekFrom::Start(0)).map_err(ImageError::at("archive"))?;
    Ok(is_opt.then_some(&**file))
}

/// `/opt` as a container would see it.
pub(crate) struct OptTree {
    /// Nodes by path from the root, without slashes at either end, in the order in which an engine walks a tree.
    pub nodes: Vec<(Vec<u8>, Node)>,
    /// Content of compressed layers.
    pub spool: Option<Spool>,
    /// The image's id: its configuration's digest, if it has one.
    pub image_id: Option<ImageId>,
    /// Memory of the nodes, counted in the budget.
    _share: Share,
}

impl OptTree {
    /// Reads all layers, each of which must have the digests that manifest and configuration state.
    pub(crate) fn read(image: &StoredImage, spool: (&Path, u64), cancel: &CancellationToken) -> Result<Self, ImageError> {
        if let Some(archive) = opt_archive(image)? {
            return Self::of_archive(archive, cancel);
        }
        let check = || if cancel.is_cancelled() { Err(ImageError::Cancelled) } else { Ok(()) };
        let mut layers =
            LayeredFiles { changes: LayerChanges::new(&check), files: FileReader { place: spool, open: None, spool: None } };
        let image = image.read(None, &mut layers, |_| {})?;
        let LayeredFiles { changes: LayerChanges { changes, share, .. }, files: FileReader { mut spool, .. } } = layers;
        let mut laid = Overlay::default();
        for changes in in_order(changes, &image.layers) {
            laid.apply_layer(changes, &mut |_, _| {})?;
        }
        if let Some(spool) = &mut spool {
            spool.flush()?;
        }
        let mut nodes: Vec<(Vec<u8>, Node)> = laid.tree.into_iter().collect();
        nodes.sort_unstable_by(|(one, _), (other, _)| walk_order(one, other));
        Ok(Self { nodes, spool, image_id: image.id(), _share: share })
    }

    /// Reads an archive of `/opt`, in any order. Duplicates are reported by the strict reader later.
    fn of_archive(archive: &File, cancel: &CancellationToken) -> Result<Self, ImageError> {
        let (mut nodes, mut share) = (Vec::new(), Share::default());
        let mut tape = EndCheckedReader::new(archive);
        let mut entries = TarReader::new(&mut tape);
        while let Some(entry) = entries.next()? {
            if cancel.is_cancelled() {
                return Err(ImageError::Cancelled);
            }
            let Some(path) = plain_path(&entry.path)? else { continue };
            if nodes.len() as u64 == ENTRY_LIMIT {
                return Err(ImageError::Limit("entries of /opt"));
            }
            share.entry::<(Vec<u8>, Node)>(path.len())?;
            let node = match entry.kind {
                EntryType::Directory => Node::Directory(entry.meta),
                _ if entry.is_file() => {
                    Node::File { at: Location::Layer("".into(), entry.position), size: entry.size, meta: entry.meta }
                }
                other => Node::Other(other, entry.meta),
            };
            nodes.push((path, node));
        }
        tape.check_end()?;
        nodes.sort_by(|(one, _), (other, _)| walk_order(one, other));
        Ok(Self { nodes, spool: None, image_id: None, _share: share })
    }

    /// Returns the indices of a path and of everything below it; empty if the path does not exist.
    pub(crate) fn below(&self, path: &[u8]) -> Range<usize> {
        let start = self.nodes.partition_point(|(one, _)| walk_order(one, path).is_lt());
        let is_in = |one: &[u8]| one.strip_prefix(path).is_some_and(|rest| rest.first().is_none_or(|next| *next == b'/'));
        // A walk visits all of a directory before it goes on.
        let count = self.nodes[start..].iter().take_while(|(one, _)| is_in(one)).count();
        match self.nodes.get(start) {
            Some((one, _)) if one == path => start..start + count,
            _ => start..start,
        }
    }
}

/// Collects the changes of layers to `/opt`, and the files' positions in them.
struct LayeredFiles<'a> {
    changes: LayerChanges<'a, Node>,
    files: FileReader<'a>,
}

/// Locates the files of layers.
struct FileReader<'a> {
    /// Directory of the spool, and the bytes that stay free there.
    place: (&'a Path, u64),
    /// The layer being read, and where it begins; `None` for a compressed one.
    open: Option<(Arc<str>, u64)>,
    spool: Option<Spool>,
}

impl FileReader<'_> {
    fn node(&mut self, entry: &TarEntry, content: &mut dyn Read) -> Result<Node, ImageError> {
        let (size, meta) = (entry.size, entry.meta);
        match entry.kind {
            EntryType::Directory => Ok(Node::Directory(meta)),
            _ if entry.is_file() => {
                let at = match &self.open {
                    Some((layer, start)) => Location::Layer(Arc::clone(layer), start + entry.position),
                    None => Location::Spool(self.read_into(size, content)?),
                };
                Ok(Node::File { at, size, meta })
            }
            other => Ok(Node::Other(other, meta)),
        }
    }

    fn read_into(&mut self, size: u64, content: &mut dyn Read) -> Result<Extent, ImageError> {
        let spool = match &mut self.spool {
            Some(spool) => spool,
            none => none.insert(Spool::create(self.place.0, 0, self.place.1)?),
        };
        spool.check_space(size)?;
        let offset = spool.len();
        let mut buffer = [0; 64 * 1024];
        loop {
            match content.read(&mut buffer).map_err(ImageError::from_io)? {
                0 => return Ok(Extent { offset, len: spool.len() - offset }),
                count => spool.append(&buffer[..count])?,
            }
        }
    }
}

impl LayerSink for LayeredFiles<'_> {
    type Error = ImageError;

    fn layer(&mut self, name: &str, position: Option<u64>) -> Result<(), ImageError> {
        self.files.open = position.map(|start| (name.into(), start));
        Ok(())
    }

    fn entry(&mut self, layer: &str, entry: &TarEntry, content: &mut dyn Read) -> Result<(), ImageError> {
        let Self { changes, files } = self;
        changes.add(layer, entry, |_| files.node(entry, content))
    }
}

/// Compares paths in the order in which an engine walks a tree: component by component.
pub(crate) fn walk_order(one: &[u8], other: &[u8]) -> std::cmp::Ordering {
    one.split(|byte| *byte == b'/').cmp(other.split(|byte| *byte == b'/'))
}
