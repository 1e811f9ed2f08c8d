//! `/opt` of an image as its layers leave it, and where in them each file lies.

use std::{
    collections::{BTreeMap, HashMap},
    io::Read,
    path::Path,
    sync::Arc,
};

use tar::EntryType;
use tokio_util::sync::CancellationToken;

use super::home::Home;
use crate::image::{
    ImageError,
    layer::Meta,
    opt::broken,
    saved::{Change, Entry, LayerSink, OfOpt, Overlay, plain_path},
    spool::{Extent, Spool},
};

/// Most changes that are kept, all layers together.
const ENTRY_LIMIT: usize = 1_000_000;
/// Most bytes of names that are kept.
const NAME_LIMIT: usize = 128 << 20;

/// What stands at a path.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Directory(Meta),
    File {
        at: At,
        size: u64,
        meta: Meta,
    },
    /// A link of either kind, a device, a pipe.
    Other(EntryType, Meta),
}

/// Where a file's content lies.
#[derive(Clone, Debug)]
pub(super) enum At {
    /// In a layer that is not compressed, from this byte on of the file that holds the layer.
    Layer(Arc<str>, u64),
    /// In the spool: a compressed layer can be read from its start only.
    Spool(Extent),
}

impl crate::image::saved::Node for Node {
    fn implied_directory() -> Self {
        Self::Directory(Meta::directory(0))
    }

    fn is_implied_directory(&self) -> bool {
        matches!(self, Self::Directory(Meta { mode: 0o755, uid: 0, gid: 0, .. }))
    }

    fn is_directory(&self) -> bool {
        matches!(self, Self::Directory(_))
    }
}

/// `/opt` as a container would see it.
pub(super) struct OptTree {
    /// By path from the root, without slashes at either end.
    pub nodes: BTreeMap<Vec<u8>, Node>,
    /// What lay in compressed layers.
    pub spool: Option<Spool>,
    /// The image's id: its configuration's digest.
    pub image_id: String,
}

impl OptTree {
    /// Reads all layers, each of which must have the digests that manifest and configuration state.
    pub fn read(home: &Home, spool: (&Path, u64), cancel: &CancellationToken) -> Result<Self, ImageError> {
        let mut layers = PlacedLayers { place: spool, cancel, changes: HashMap::new(), open: None, spool: None, kept: (0, 0) };
        let image = home.read(&mut layers)?;
        let mut laid = Overlay::default();
        for name in &image.layers {
            if let Some(changes) = layers.changes.get(name) {
                laid.lay(changes, &mut |_, _| {})?;
            }
        }
        if let Some(spool) = &mut layers.spool {
            spool.flush()?;
        }
        Ok(Self { nodes: laid.tree, spool: layers.spool, image_id: image.id().unwrap_or_default() })
    }
}

/// Keeps what layers do to `/opt`, and where the files lie in them.
struct PlacedLayers<'a> {
    /// Where the spool would be, and what stays free there.
    place: (&'a Path, u64),
    cancel: &'a CancellationToken,
    changes: HashMap<String, Vec<Change<Node>>>,
    /// The layer that is being read, and where it begins; `None` for one that is compressed.
    open: Option<(Arc<str>, u64)>,
    spool: Option<Spool>,
    /// Changes, and bytes of their names.
    kept: (usize, usize),
}

impl PlacedLayers<'_> {
    fn node(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<Node, ImageError> {
        let (size, meta) = (entry.size, entry.meta);
        match entry.kind {
            EntryType::Directory => Ok(Node::Directory(meta)),
            _ if entry.is_file() => {
                let at = match &self.open {
                    Some((layer, start)) => At::Layer(Arc::clone(layer), start + entry.position),
                    None => At::Spool(self.keep(size, content)?),
                };
                Ok(Node::File { at, size, meta })
            }
            other => Ok(Node::Other(other, meta)),
        }
    }

    fn keep(&mut self, size: u64, content: &mut dyn Read) -> Result<Extent, ImageError> {
        let spool = match &mut self.spool {
            Some(spool) => spool,
            none => none.insert(Spool::create(self.place.0, 0, self.place.1)?),
        };
        spool.check_space(size)?;
        let offset = spool.len();
        let mut buffer = [0; 64 * 1024];
        loop {
            match content.read(&mut buffer).map_err(broken)? {
                0 => return Ok(Extent { offset, len: spool.len() - offset }),
                count => spool.append(&buffer[..count])?,
            }
        }
    }
}

impl LayerSink for PlacedLayers<'_> {
    type Error = ImageError;

    fn layer(&mut self, name: &str, position: Option<u64>) -> Result<(), ImageError> {
        self.open = position.map(|start| (name.into(), start));
        Ok(())
    }

    fn entry(&mut self, layer: &str, entry: &Entry, content: &mut dyn Read) -> Result<(), ImageError> {
        if self.cancel.is_cancelled() {
            return Err(ImageError::Cancelled);
        }
        let Some(path) = plain_path(&entry.path)? else { return Ok(()) };
        let change = match OfOpt::by_name(&path) {
            OfOpt::Nothing => return Ok(()),
            OfOpt::Change(change) => change,
            OfOpt::Content => Change::Set(path.clone(), self.node(entry, content)?),
        };
        self.kept = (self.kept.0 + 1, self.kept.1 + path.len());
        if self.kept.0 > ENTRY_LIMIT || self.kept.1 > NAME_LIMIT {
            return Err(ImageError::Limit("entries of /opt"));
        }
        match self.changes.get_mut(layer) {
            Some(changes) => changes.push(change),
            None => drop(self.changes.insert(layer.to_owned(), vec![change])),
        }
        Ok(())
    }
}

/// Orders paths as an engine walks a tree: component by component.
pub(super) fn walk_order(one: &[u8], other: &[u8]) -> std::cmp::Ordering {
    one.split(|byte| *byte == b'/').cmp(other.split(|byte| *byte == b'/'))
}
