//! Generates a tar archive of files in an image's layers, while it is read.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    ops::Range,
    os::unix::fs::FileExt,
    sync::Arc,
};

use stationmaster_train::rule::Rule;
use tar::EntryType;
use tokio_util::sync::CancellationToken;

use super::layered_tree::{Location, Node, OptTree};
use crate::{
    ImageError,
    archive::stored_image::StoredImage,
    disk::spool::Spool,
    tar::{entry::BLOCK, header_writer::header_blocks},
};

/// A tar archive of files in layers. Its errors contain an [`ImageError`].
pub struct TarStream {
    image: StoredImage,
    tree: Arc<OptTree>,
    /// Indices of the tree's remaining nodes.
    entries: Range<usize>,
    /// Length in bytes of the path prefix that is not part of names in the archive.
    parent: usize,
    /// The layers' open files.
    layers: HashMap<Arc<str>, Arc<File>>,
    /// Headers and padding still to be read, and how much of them was read.
    pending: (Vec<u8>, usize),
    content: Content,
    ended: bool,
    cancel: CancellationToken,
}

/// Remaining content of an entry.
struct Content {
    of: Option<Source>,
    offset: u64,
    left: u64,
    /// Padding after it, in bytes.
    fill: usize,
}

enum Source {
    Layer(Arc<File>),
    Spool,
}

impl TarStream {
    pub(crate) fn new(
        image: StoredImage,
        tree: Arc<OptTree>,
        entries: Range<usize>,
        parent: usize,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            image,
            tree,
            entries,
            parent,
            layers: HashMap::new(),
            pending: (Vec::new(), 0),
            content: Content { of: None, offset: 0, left: 0, fill: 0 },
            ended: false,
            cancel,
        }
    }

    /// Begins the next entry, or the end.
    fn advance(&mut self) -> Result<bool, ImageError> {
        if self.cancel.is_cancelled() {
            return Err(ImageError::Cancelled);
        }
        let tree = Arc::clone(&self.tree);
        let Some((path, node)) = self.entries.next().and_then(|at| tree.nodes.get(at)) else {
            let end = if self.ended { 0 } else { 2 * BLOCK as usize };
            self.pending = (vec![0; end], 0);
            return Ok(!std::mem::replace(&mut self.ended, true));
        };
        // The header writer takes text. The reader would reject such a name as well.
        let name = std::str::from_utf8(&path[self.parent..]).map_err(|_| ImageError::policy(Rule::PlainNames, path))?;
        let header = match node {
            Node::Directory(meta) => header_blocks(&format!("{name}/"), EntryType::Directory, *meta, 0),
            Node::Other(kind, meta) => header_blocks(name, render_header(*kind), *meta, 0),
            Node::File { at, size, meta } => {
                let (size, meta) = (*size, *meta);
                let fill = (size.next_multiple_of(BLOCK) - size) as usize;
                let (of, offset) = match at {
                    Location::Layer(layer, offset) => (Source::Layer(self.open(layer)?), *offset),
                    Location::Spool(extent) => (Source::Spool, extent.offset),
                };
                self.content = Content { of: Some(of), offset, left: size, fill };
                header_blocks(name, EntryType::Regular, meta, size)
            }
        };
        self.pending = (header, 0);
        Ok(true)
    }

    fn open(&mut self, layer: &Arc<str>) -> Result<Arc<File>, ImageError> {
        if let Some(known) = self.layers.get(layer) {
            return Ok(Arc::clone(known));
        }
        let opened = self.image.open(layer)?;
        self.layers.insert(Arc::clone(layer), Arc::clone(&opened));
        Ok(opened)
    }
}

impl Content {
    fn read(&mut self, spool: Option<&Spool>, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = match (&self.of, spool) {
            (Some(Source::Layer(file)), _) => file.read_at(&mut buffer[..most], self.offset)?,
            (Some(Source::Spool), Some(spool)) => {
                spool.read(self.offset, &mut buffer[..most]).map_err(io::Error::other)?;
                most
            }
            _ => 0,
        };
        if count == 0 {
            // The layer was complete when its digest was verified.
            return Err(io::Error::other(ImageError::Malformed("a layer was cut off while it was read")));
        }
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

impl Read for TarStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let (pending, at) = &mut self.pending;
            if *at < pending.len() {
                let count = (pending.len() - *at).min(buffer.len());
                buffer[..count].copy_from_slice(&pending[*at..*at + count]);
                *at += count;
                return Ok(count);
            }
            if self.content.left > 0 {
                let count = self.content.read(self.tree.spool.as_ref(), buffer)?;
                if self.content.left == 0 {
                    self.pending = (vec![0; self.content.fill], 0);
                }
                return Ok(count);
            }
            if !self.advance().map_err(io::Error::other)? {
                return Ok(0);
            }
        }
    }
}

/// Returns a header type that no reader accepts as a file for entries that are not files.
fn render_header(kind: EntryType) -> EntryType {
    match kind {
        EntryType::Link | EntryType::Char | EntryType::Block | EntryType::Fifo => kind,
        _ => EntryType::Symlink,
    }
}
